// What Go's memberlist does for `gossip-bench peers`: one node, fed and measured as bench/src/peers/measure.rs does it with those
// that are written in Rust. It prints the same report (bench/src/peers/report.rs) as JSON. Built on first use, with Debian's
// packages golang-go and golang-github-hashicorp-memberlist-dev:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o memberlist .
//	./memberlist --members=10,1000 --repetitions=7
//
// What is measured begins where a transport hands over a datagram, and ends when memberlist says that it is done or hands
// a datagram to its transport. In between are its own goroutines, queues and codec, as in any program that uses it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	schema = 1
	// Datagrams between two looks at the clock: enough that garbage is collected several times.
	batch = 4000
	// Seconds of an idle node between two looks at the clock.
	seconds = 1000
	// Gossip ticks of a default configuration in a second.
	ticks = 5
	// Rounds of gossip in a repetition.
	rounds = 200
	// The cluster that the memory of a larger one is compared with.
	base = 10
)

type figure struct {
	Row         string   `json:"row"`
	Members     int      `json:"members"`
	Best        float64  `json:"best"`
	Median      float64  `json:"median"`
	Worst       float64  `json:"worst"`
	Repetitions int      `json:"repetitions"`
	Allocations *float64 `json:"allocations"`
}

type absent struct {
	Row     string `json:"row"`
	Members *int   `json:"members"`
	Why     string `json:"why"`
}

type report struct {
	Schema  int      `json:"schema"`
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Remarks []string `json:"remarks"`
	Figures []figure `json:"figures"`
	Absent  []absent `json:"absent"`
}

// Time and allocations of what was measured in one repetition.
type samples struct {
	time        time.Duration
	allocations uint64
	operations  int
}

// Processor time of the whole process: its threads for garbage are in it.
func cpu() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func (s *samples) measure(work func() int) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	clock := cpu()
	operations := work()
	s.time += cpu() - clock
	runtime.ReadMemStats(&after)
	s.allocations += after.Mallocs - before.Mallocs
	s.operations += operations
}

// The first repetition warms up and does not count.
func repeated(row string, members, repetitions int, once func(*samples)) figure {
	once(&samples{})
	var times []float64
	fewest := -1.0
	for i := 0; i < repetitions; i++ {
		var s samples
		once(&s)
		operations := float64(s.operations)
		times = append(times, float64(s.time.Nanoseconds())/1e3/operations)
		if each := float64(s.allocations) / operations; fewest < 0 || each < fewest {
			fewest = each
		}
	}
	sort.Float64s(times)
	return figure{row, members, times[0], times[len(times)/2], times[len(times)-1], repetitions, &fewest}
}

func known(members, repetitions int) figure {
	n, r := grown(members), newRumours(members)
	defer n.end()
	f := repeated("known-alives", members, repetitions, func(s *samples) {
		var datagrams [][]byte
		for i := 0; i < batch; i++ {
			r.sender()
			datagrams = append(datagrams, alives(r.known()))
		}
		s.measure(func() int { return n.deliverAll(datagrams) })
	})
	must(n.queue.NumQueued() == 0 && n.list.NumMembers() == members, "something was news")
	return f
}

func (n *node) deliverAll(datagrams [][]byte) int {
	for _, datagram := range datagrams {
		n.deliver(datagram)
	}
	return len(datagrams)
}

func news(members, repetitions int) figure {
	n, r := grown(members), newRumours(members)
	defer n.end()
	n.tellOfAll(r)
	f := repeated("news", members, repetitions, func(s *samples) {
		var datagrams [][]byte
		for i := 0; i < batch; i++ {
			r.sender()
			datagrams = append(datagrams, alives(r.news()))
		}
		s.measure(func() int { return n.deliverAll(datagrams) })
		n.knowsAll(r)
	})
	must(n.queue.NumQueued() > 0 && n.list.NumMembers() == members, "news is passed on")
	return f
}

func (n *node) knowsAll(r *rumours) {
	known := n.incarnations()
	for member := 1; member < len(r.incarnations); member++ {
		name, told := nameOf(member), r.incarnations[member]
		must(known[name] == told, "of %s it knows %d, it was told %d", name, known[name], told)
	}
}

func (n *node) tellOfAll(r *rumours) {
	for _, some := range r.newsOfAll() {
		r.sender()
		n.deliver(alives(some))
	}
	queued, members := n.queue.NumQueued(), n.list.NumMembers()
	must(queued+1 >= members, "an update about each waits: %d", queued)
}

func pings(members, repetitions int) figure {
	n, r := grown(members), newRumours(members)
	defer n.end()
	n.transport.acks = make(chan struct{}, 1)
	return repeated("ping-ack", members, repetitions, func(s *samples) {
		var datagrams [][]byte
		for i := 0; i < batch; i++ {
			datagrams = append(datagrams, pingFrom(r.sender()))
		}
		s.measure(func() int {
			for _, datagram := range datagrams {
				n.transport.packets <- &memberlist.Packet{Buf: datagram, From: sender, Timestamp: time.Now()}
				<-n.transport.acks
			}
			return len(datagrams)
		})
	})
}

func gossips(members, repetitions int) figure {
	n, r := grown(members), newRumours(members)
	defer n.end()
	each := 20
	if members < 100 {
		each = 2
	}
	return repeated("gossip-packet", members, repetitions, func(s *samples) {
		for i := 0; i < rounds/each; i++ {
			n.tellOfAll(r)
			n.transport.datagrams, n.transport.bytes = 0, 0
			s.measure(func() int {
				for j := 0; j < each; j++ {
					gossip(n.list)
				}
				return n.transport.datagrams
			})
			sent := n.transport
			must(sent.datagrams >= each, "%d datagrams in %d rounds", sent.datagrams, each)
			// What of less than a hundred members there is to say may fill no datagram.
			must(members < 100 || sent.bytes/sent.datagrams > 1000, "%d bytes in %d datagrams", sent.bytes, sent.datagrams)
		}
	})
}

func idle(members, repetitions int) figure {
	n := grown(members)
	defer n.end()
	n.transport.answers = true
	f := repeated("idle", members, repetitions, func(s *samples) {
		before := n.transport.answered
		s.measure(func() int {
			for second := 0; second < seconds; second++ {
				probe(n.list)
				for tick := 0; tick < ticks; tick++ {
					gossip(n.list)
				}
			}
			return seconds
		})
		probes := n.transport.answered - before
		must(probes == seconds, "%d probes in %d s", probes, seconds)
	})
	must(n.list.NumMembers() == members, "all were found alive")
	return f
}

func heap(members int) figure {
	held := func(members int) float64 {
		before := live()
		n := grown(members)
		after := live()
		n.end()
		return float64(after) - float64(before)
	}
	each := (held(members) - held(base)) / float64(members-base)
	if each < 0 {
		each = 0
	}
	return figure{"heap-per-member", members, each, each, each, 1, nil}
}

func live() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// Numbers of members in a list with commas.
func sizes(list string) []int {
	var all []int
	for _, text := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		size, err := strconv.Atoi(text)
		check(err)
		must(size >= 2 && size <= 60000, "from 2 to 60000 members: %d", size)
		all = append(all, size)
	}
	return all
}

var rows = []string{"known-alives", "news", "ping-ack", "gossip-packet", "idle", "heap-per-member"}

func main() {
	members := flag.String("members", "10,1000,10000", "numbers of members")
	repetitions := flag.Int("repetitions", 7, "repetitions of each measurement")
	only := flag.String("rows", "", "only these rows")
	cluster := flag.String("cluster", "", "sizes of clusters; none if it is empty")
	version := flag.String("library", "", "the version of memberlist")
	flag.Parse()
	// One thread for all goroutines: with more, those that wait for work would spin, and be counted.
	runtime.GOMAXPROCS(1)

	out := report{Schema: schema, Name: "Go memberlist", Version: *version, Figures: []figure{}, Absent: []absent{}}
	out.Remarks = []string{
		"From a transport of its own, datagrams in and out, in " + runtime.Version() + " with GOMAXPROCS=1; time is of the whole process, garbage collection included.",
		"Compression is off, as with the others; it is on by default.",
		"Each datagram of alives ends with a user message of one byte, by which it is known that they were applied.",
		"It applies the last message of a datagram first, so that in a cluster of ten, where a datagram names some members twice, not all ten are news.",
		fmt.Sprintf("Clusters are in real time, once, on %d processors: when those are the bottleneck, time is theirs. Nothing is lost on the way, and nothing takes time; who was turned away by the first node tries again after a second.", runtime.NumCPU()),
		"For gossip and idle time, what its tickers would call is called as often; the tickers themselves are not counted.",
	}
	wanted := func(row string) bool {
		return *only == "" || strings.Contains(","+*only+",", ","+row+",")
	}
	for _, size := range sizes(*members) {
		for _, row := range rows {
			if !wanted(row) {
				continue
			}
			var f figure
			switch row {
			case "known-alives":
				f = known(size, *repetitions)
			case "news":
				f = news(size, *repetitions)
			case "ping-ack":
				f = pings(size, *repetitions)
			case "gossip-packet":
				f = gossips(size, *repetitions)
			case "idle":
				f = idle(size, *repetitions)
			case "heap-per-member":
				if size <= base {
					size := size
					out.Absent = append(out.Absent, absent{row, &size, "The figure is how memory grows from 10 members to N."})
					continue
				}
				f = heap(size)
			}
			out.Figures = append(out.Figures, f)
		}
	}
	for _, nodes := range sizes(*cluster) {
		clusters(nodes, wanted, &out)
	}
	text, err := json.MarshalIndent(out, "", "  ")
	check(err)
	fmt.Fprintln(os.Stdout, string(text))
}
