package main

// Clusters: all join through one at once, and one event reaches all. In real time, on all processors of the machine, because its
// timers know no other; what the others' figures are is in bench/src/peers/cluster.rs.

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// More keep two processors so busy that they take each other for dead.
	most = 200
	// How often it is looked whether something has come about: each look goes over all tables.
	look = 250 * time.Millisecond
	// How long is waited for views to be whole.
	patience = 120 * time.Second
	// How long an event has to reach all.
	spreading = 10 * time.Second
	// After a join, until nothing is left to be passed on.
	calm = 10 * time.Second
	// How long who was turned away waits, as agents do that are to join until they have.
	retry = time.Second
	// Datagrams that wait for their node; more are lost, as in a socket's buffer.
	buffered = 256
)

// Carries datagrams and streams between the nodes of a cluster, at once.
type mesh map[string]*seat

type seat struct {
	mesh    mesh
	number  int
	packets chan *memberlist.Packet
	streams chan net.Conn
}

func (s *seat) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IP(addressOf(s.number)), port, nil
}

func (s *seat) WriteTo(b []byte, to string) (time.Time, error) {
	now := time.Now()
	if other := s.mesh[to]; other != nil {
		from := &net.UDPAddr{IP: net.IP(addressOf(s.number)), Port: port}
		select {
		case other.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: from, Timestamp: now}:
		default:
		}
	}
	return now, nil
}

func (s *seat) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	other := s.mesh[to]
	if other == nil {
		return nil, fmt.Errorf("nobody is at %s", to)
	}
	ours, theirs := net.Pipe()
	select {
	case other.streams <- theirs:
		return ours, nil
	case <-time.After(timeout):
		return nil, fmt.Errorf("%s does not accept", to)
	}
}

func (s *seat) PacketCh() <-chan *memberlist.Packet { return s.packets }
func (s *seat) StreamCh() <-chan net.Conn           { return s.streams }
func (s *seat) Shutdown() error                     { return nil }

// Passes an event on when it comes for the first time, as Serf does.
type teller struct {
	queue  memberlist.TransmitLimitedQueue
	copies *int64
	at     chan time.Time
	heard  int32
}

type event []byte

func (event) Invalidates(memberlist.Broadcast) bool { return false }
func (e event) Message() []byte                     { return e }
func (event) Finished()                             {}

func (t *teller) tell(message []byte) {
	if atomic.CompareAndSwapInt32(&t.heard, 0, 1) {
		t.queue.QueueBroadcast(event(message))
		t.at <- time.Now()
	}
}

func (t *teller) NotifyMsg(b []byte) {
	atomic.AddInt64(t.copies, 1)
	t.tell(append([]byte(nil), b...))
}

func (t *teller) GetBroadcasts(overhead, limit int) [][]byte {
	return t.queue.GetBroadcasts(overhead, limit)
}
func (*teller) NodeMeta(int) []byte           { return nil }
func (*teller) LocalState(bool) []byte        { return nil }
func (*teller) MergeRemoteState([]byte, bool) {}

type cluster struct {
	lists   []*memberlist.Memberlist
	tellers []*teller
	copies  int64
	at      chan time.Time
}

func newCluster(nodes int) *cluster {
	c := &cluster{at: make(chan time.Time, nodes)}
	m := make(mesh, nodes)
	for number := 0; number < nodes; number++ {
		s := &seat{m, number, make(chan *memberlist.Packet, buffered), make(chan net.Conn)}
		m[hostPort(number)] = s
	}
	for number := 0; number < nodes; number++ {
		config := memberlist.DefaultLANConfig()
		t := &teller{copies: &c.copies, at: c.at}
		t.queue.RetransmitMult = config.RetransmitMult
		t.queue.NumNodes = func() int { return nodes }
		config.Name, config.Transport, config.Delegate = nameOf(number), m[hostPort(number)], t
		// It would be most of what they do, and that is known.
		config.EnableCompression = false
		config.LogOutput = io.Discard
		list, err := memberlist.Create(config)
		check(err)
		c.lists, c.tellers = append(c.lists, list), append(c.tellers, t)
	}
	return c
}

func (c *cluster) end() {
	for _, list := range c.lists {
		check(list.Shutdown())
	}
}

func (c *cluster) whole() int {
	whole := 0
	for _, list := range c.lists {
		if list.NumMembers() == len(c.lists) {
			whole++
		}
	}
	return whole
}

// Seconds until 99 % of the views are whole, until all are, and milliseconds of a processor for each node until the former;
// negative if it did not come about.
func (c *cluster) join() (nearly, all, spent float64) {
	nearly, all, spent = -1, -1, -1
	nodes := len(c.lists)
	clock, begun := cpu(), time.Now()
	for _, list := range c.lists[1:] {
		go func(list *memberlist.Memberlist) {
			for time.Since(begun) < patience {
				if _, err := list.Join([]string{hostPort(0)}); err == nil {
					return
				}
				time.Sleep(retry)
			}
		}(list)
	}
	for time.Since(begun) < patience && all < 0 {
		time.Sleep(look)
		whole := c.whole()
		if nearly < 0 && whole*100 >= nodes*99 {
			nearly = time.Since(begun).Seconds()
			spent = float64((cpu() - clock).Microseconds()) / 1e3 / float64(nodes)
		}
		if whole == nodes {
			all = time.Since(begun).Seconds()
		}
	}
	return
}

// Seconds until the last node had the event, how many copies came to each, and how many nodes have missed it.
func (c *cluster) event() (last, copies, missed float64) {
	time.Sleep(calm)
	begun := time.Now()
	c.tellers[0].tell(make([]byte, 64))
	deadline := time.After(spreading)
	heard := 0
	for open := true; open; {
		select {
		case at := <-c.at:
			heard++
			last = at.Sub(begun).Seconds()
		case <-deadline:
			open = false
		}
	}
	nodes := len(c.lists)
	return last, float64(atomic.LoadInt64(&c.copies)) / float64(nodes), float64(nodes - heard)
}

var clusterRows = []string{"join99", "join-all", "join-cpu", "event-all", "event-copies", "event-missed"}

// One run: it takes minutes.
func clusters(nodes int, wanted func(string) bool, out *report) {
	some := false
	for _, row := range clusterRows {
		some = some || wanted(row)
	}
	if !some {
		return
	}
	if nodes > most {
		for _, row := range clusterRows {
			if wanted(row) {
				why := "In real time so many keep two processors too busy: a thousand had not met after two minutes."
				out.Absent = append(out.Absent, absent{row, &nodes, why})
			}
		}
		return
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	c := newCluster(nodes)
	defer c.end()
	nearly, all, spent := c.join()
	last, copies, missed := c.event()
	if missed > 0 {
		last = -1
	}
	for index, value := range []float64{nearly, all, spent, last, copies, missed} {
		switch row := clusterRows[index]; {
		case !wanted(row):
		case value < 0:
			out.Absent = append(out.Absent, absent{row, &nodes, "It did not come about in time."})
		default:
			out.Figures = append(out.Figures, figure{row, nodes, value, value, value, 1, nil})
		}
	}
}
