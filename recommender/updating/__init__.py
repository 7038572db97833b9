"""Update modes: has running pods made anew whose slice is not what a new pod would get."""
