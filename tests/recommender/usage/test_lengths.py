"""How many points are asked for at once."""

from recommender.usage.lengths import MAX_POINTS, AnswerLength


def test_before_any_answer_only_few_points_are_asked_for() -> None:
    assert AnswerLength().points == 10


def test_where_the_number_of_series_is_known_it_sets_the_length() -> None:
    assert AnswerLength(series=1000).points == 500
    assert AnswerLength(series=10**7).points == 1


def test_the_first_answer_with_series_sets_the_length() -> None:
    length = AnswerLength()
    length.answered(100_000)
    assert length.points == 5
    length.answered(1)
    assert length.points == MAX_POINTS


def test_an_empty_answer_does_not_let_the_next_be_of_any_size() -> None:
    unknown, known = AnswerLength(), AnswerLength(series=1000)
    unknown.answered(0)
    known.answered(0)
    assert unknown.points == 20
    assert known.points == 500


def test_a_gap_without_usage_is_still_crossed_in_few_questions() -> None:
    length, steps, answers = AnswerLength(), 0, 0
    while steps < 30 * 24 * 60:
        steps += length.points
        answers += 1
        length.answered(0)
    assert answers < 20
