package main

// One node of memberlist, and the transport by which it is fed.

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"time"
	"unsafe"

	"github.com/hashicorp/go-msgpack/codec"
	"github.com/hashicorp/memberlist"
)

// What its tickers call. They are called as often as the tickers would, so that no time has to pass.
//
//go:linkname gossip github.com/hashicorp/memberlist.(*Memberlist).gossip
func gossip(m *memberlist.Memberlist)

//go:linkname probe github.com/hashicorp/memberlist.(*Memberlist).probe
func probe(m *memberlist.Memberlist)

// Packets are handed over through the channel that memberlist reads, and taken where it would write to a socket.
type transport struct {
	packets chan *memberlist.Packet
	streams chan net.Conn
	// What is sent: datagrams and their bytes.
	datagrams, bytes int
	// Whether its pings are answered; how many were.
	answers  bool
	answered int
	// Has one for each acknowledgement that it sends, if somebody waits.
	acks chan struct{}
}

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IP(addressOf(0)), port, nil
}

func (t *transport) WriteTo(b []byte, _ string) (time.Time, error) {
	t.datagrams++
	t.bytes += len(b)
	if len(b) > 5 && b[0] == kindCrc {
		b = b[5:]
	}
	switch {
	case b[0] == kindPing && t.answers:
		t.answered++
		t.packets <- &memberlist.Packet{Buf: answer(b), From: sender, Timestamp: time.Now()}
	case b[0] == kindAck && t.acks != nil:
		t.acks <- struct{}{}
	}
	return time.Now(), nil
}

func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }
func (t *transport) Shutdown() error                     { return nil }

func (t *transport) DialTimeout(addr string, _ time.Duration) (net.Conn, error) {
	return nil, fmt.Errorf("no streams to %s", addr)
}

func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

func (t *transport) IngestPacket(net.Conn, net.Addr, time.Time, bool) error {
	return fmt.Errorf("packets come through the channel")
}

func (t *transport) IngestStream(net.Conn) error {
	return fmt.Errorf("streams come through the channel")
}

// The ack for a ping of its own: { SeqNo, Payload nil }, without the reflection of a codec.
func answer(ping []byte) []byte {
	const key = "\xa5SeqNo"
	at := bytes.Index(ping, []byte(key))
	if at < 0 {
		panic("a ping without a number")
	}
	number := ping[at+len(key):]
	length := map[byte]int{0xcc: 2, 0xcd: 3, 0xce: 5}[number[0]]
	if length == 0 {
		length = 1
	}
	out := append([]byte{kindAck, 0x82}, key...)
	out = append(out, number[:length]...)
	return append(out, "\xa7Payload\xc0"...)
}

// Who sends what it gets: as the datagram says, this only stands in logs.
var sender net.Addr = &net.UDPAddr{IP: net.IP(addressOf(1)), Port: port}

// Told of each user message.
type applied chan struct{}

func (a applied) NotifyMsg([]byte)              { a <- struct{}{} }
func (applied) NodeMeta(int) []byte             { return nil }
func (applied) GetBroadcasts(int, int) [][]byte { return nil }
func (applied) LocalState(bool) []byte          { return nil }
func (applied) MergeRemoteState([]byte, bool)   {}

// Whatever it complains of ends the run: a queue that was full, a message that it could not read.
type complaints struct{}

func (complaints) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("[WARN]")) || bytes.Contains(line, []byte("[ERR]")) || bytes.Contains(line, []byte("Failed")) {
		fmt.Fprintf(os.Stderr, "memberlist said: %s", line)
		os.Exit(1)
	}
	return len(line), nil
}

type node struct {
	list      *memberlist.Memberlist
	transport *transport
	applied   applied
	queue     *memberlist.TransmitLimitedQueue
}

// A node that knows that many members, itself included, all alive with incarnation 1, and has nothing to say.
func grown(members int) *node {
	n := &node{
		transport: &transport{packets: make(chan *memberlist.Packet), streams: make(chan net.Conn)},
		applied:   make(applied, 1),
	}
	config := memberlist.DefaultLANConfig()
	config.Name = nameOf(0)
	config.Transport = n.transport
	config.Delegate = n.applied
	config.LogOutput = complaints{}
	config.EnableCompression = false
	interval := config.ProbeInterval
	config.ProbeInterval, config.GossipInterval, config.PushPullInterval = 0, 0, 0
	list, err := memberlist.Create(config)
	check(err)
	// No ticker has started. A probe asks how long it may take.
	config.ProbeInterval = interval
	n.list = list
	// Its own queue of broadcasts, whose type is exported.
	field := reflect.ValueOf(list).Elem().FieldByName("broadcasts")
	n.queue = (*memberlist.TransmitLimitedQueue)(unsafe.Pointer(field.Pointer()))
	for first := 1; first < members; first += updates {
		var some []update
		for member := first; member < first+updates && member < members; member++ {
			some = append(some, update{member, 1})
		}
		n.deliver(alives(some))
	}
	must(list.NumMembers() == members, "it knows %d of %d", list.NumMembers(), members)
	n.queue.Reset()
	return n
}

func (n *node) end() { check(n.list.Shutdown()) }

// Hands a datagram with the mark over, and waits until it is applied.
func (n *node) deliver(datagram []byte) {
	n.transport.packets <- &memberlist.Packet{Buf: datagram, From: sender, Timestamp: time.Now()}
	<-n.applied
}

// What it knows of everybody, as it tells in an exchange of state.
func (n *node) incarnations() map[string]uint32 {
	ours, theirs := net.Pipe()
	n.transport.streams <- theirs
	go ours.Write(encoded(kindPushPull, &pushPullHeader{}))
	reader := bufio.NewReader(ours)
	kind, err := reader.ReadByte()
	check(err)
	must(kind == kindPushPull, "an exchange is answered by %d", kind)
	decoder := codec.NewDecoder(reader, &codec.MsgpackHandle{})
	var header pushPullHeader
	check(decoder.Decode(&header))
	known := make(map[string]uint32)
	for i := 0; i < header.Nodes; i++ {
		var state pushNodeState
		check(decoder.Decode(&state))
		must(state.State == 0, "%s is not alive", state.Name)
		known[state.Name] = state.Incarnation
	}
	go io.Copy(io.Discard, ours)
	ours.Close()
	return known
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func must(ok bool, format string, values ...interface{}) {
	if !ok {
		check(fmt.Errorf(format, values...))
	}
}
