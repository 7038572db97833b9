// Command vpa measures the Vertical Pod Autoscaler's own histogram, an object for each workload, and prints
// what it found as JSON: nanoseconds for one sample and for three percentiles, and bytes of an object.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
)

const (
	first, ratio, maximum = 0.1, 1.05, 1e4
	epsilon               = 1e-4
	weight                = 0.1
	halfLife              = 24 * time.Hour
)

var start = time.Unix(1_700_000_000, 0)

type result struct {
	IngestNanoseconds      float64 `json:"ingest_nanoseconds"`
	PercentilesNanoseconds float64 `json:"percentiles_nanoseconds"`
	Bytes                  float64 `json:"bytes"`
}

func main() {
	objects := flag.Int("objects", 100_000, "how many histograms")
	fill := flag.Int("fill", 50, "samples that each of them holds before anything is measured")
	rounds := flag.Int("rounds", 30, "how often everything is measured; the best counts")
	flag.Parse()
	found, err := measure(*objects, *fill, *rounds)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(objects, fill, rounds int) (result, error) {
	options, err := util.NewExponentialHistogramOptions(maximum, first, ratio, epsilon)
	if err != nil {
		return result{}, err
	}
	random := rand.New(rand.NewSource(1))
	values := make([]float64, objects)
	times := make([]time.Time, objects)
	// What the samples take is not the histograms'.
	draw(random, values, times)
	before, err := resident()
	if err != nil {
		return result{}, err
	}
	histograms := make([]util.Histogram, objects)
	for i := range histograms {
		histograms[i] = util.NewDecayingHistogram(options, halfLife)
	}
	for range fill {
		draw(random, values, times)
		ingest(histograms, values, times)
	}
	after, err := resident()
	if err != nil {
		return result{}, err
	}
	found := result{math.Inf(1), math.Inf(1), (after - before) / float64(objects)}
	for range rounds {
		draw(random, values, times)
		found.IngestNanoseconds = min(found.IngestNanoseconds, nanoseconds(objects, func() {
			ingest(histograms, values, times)
		}))
		found.PercentilesNanoseconds = min(found.PercentilesNanoseconds, nanoseconds(objects, func() {
			percentiles(histograms)
		}))
	}
	return found, nil
}

func draw(random *rand.Rand, values []float64, times []time.Time) {
	for i := range values {
		values[i] = math.Exp(2 + random.NormFloat64())
		times[i] = start.Add(time.Duration(random.Int63n(int64(time.Hour))))
	}
}

func ingest(histograms []util.Histogram, values []float64, times []time.Time) {
	for i, histogram := range histograms {
		histogram.AddSample(values[i], weight, times[i])
	}
}

var sink float64

func percentiles(histograms []util.Histogram) {
	for _, histogram := range histograms {
		sink += histogram.Percentile(0.5) + histogram.Percentile(0.9) + histogram.Percentile(0.95)
	}
}

func nanoseconds(objects int, run func()) float64 {
	began := processorTime()
	run()
	return float64(processorTime()-began) / float64(objects)
}

// processorTime is what this process has used, in nanoseconds: others on the machine do not count.
func processorTime() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// resident is what of this process lies in memory, in bytes, when nothing is left to collect.
func resident() (float64, error) {
	debug.FreeOSMemory()
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			var kibibytes float64
			_, err := fmt.Sscanf(strings.TrimSpace(rest), "%f kB", &kibibytes)
			return kibibytes * 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no VmRSS")
}
