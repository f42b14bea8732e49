package main

// The work that each contender is given, drawn as bench/src/peers/work.rs draws it.

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/go-msgpack/codec"
)

const (
	updates = 10
	port    = 7946
	seed    = 0x9e3779b97f4a7c15
)

// Kinds of messages, by their first byte.
const (
	kindPing     = 0
	kindAck      = 2
	kindAlive    = 4
	kindPushPull = 6
	kindCompound = 7
	kindUser     = 8
	kindCrc      = 12
)

// Protocol versions that members announce.
var versions = []uint8{1, 5, 2, 0, 0, 0}

func nameOf(number int) string    { return fmt.Sprintf("node-%05d", number) }
func addressOf(number int) []byte { return []byte{10, 0, byte(number >> 8), byte(number)} }
func hostPort(number int) string {
	a := addressOf(number)
	return fmt.Sprintf("%d.%d.%d.%d:%d", a[0], a[1], a[2], a[3], port)
}

// Numbers that are drawn: splitmix64.
type draw uint64

func (d *draw) below(n int) int {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return int((z ^ (z >> 31)) % uint64(n))
}

type update struct {
	member      int
	incarnation uint32
}

// Draws updates, and remembers what it has said of each member.
type rumours struct {
	draw         draw
	incarnations []uint32
}

func newRumours(members int) *rumours {
	r := &rumours{draw: seed, incarnations: make([]uint32, members)}
	for i := range r.incarnations {
		r.incarnations[i] = 1
	}
	return r
}

func (r *rumours) sender() int { return 1 + r.draw.below(len(r.incarnations)-1) }

func (r *rumours) known() []update {
	some := make([]update, updates)
	for i := range some {
		member := r.sender()
		some[i] = update{member, r.incarnations[member]}
	}
	return some
}

func (r *rumours) tell(member int) update {
	r.incarnations[member]++
	return update{member, r.incarnations[member]}
}

func (r *rumours) news() []update {
	some := make([]update, updates)
	for i := range some {
		some[i] = r.tell(r.sender())
	}
	return some
}

func (r *rumours) newsOfAll() [][]update {
	var all [][]update
	for member := 1; member < len(r.incarnations); member += updates {
		var some []update
		for other := member; other < member+updates && other < len(r.incarnations); other++ {
			some = append(some, r.tell(other))
		}
		all = append(all, some)
	}
	return all
}

// The messages, as memberlist defines them: its own types are not exported.
type alive struct {
	Incarnation uint32
	Node        string
	Addr        []byte
	Port        uint16
	Meta        []byte
	Vsn         []uint8
}

type ping struct {
	SeqNo      uint32
	Node       string
	SourceAddr []byte
	SourcePort uint16
	SourceNode string
}

type ack struct {
	SeqNo   uint32
	Payload []byte
}

type pushPullHeader struct {
	Nodes        int
	UserStateLen int
	Join         bool
}

type pushNodeState struct {
	Name        string
	Addr        []byte
	Port        uint16
	Meta        []byte
	Incarnation uint32
	State       int
	Vsn         []uint8
}

func encoded(kind byte, message interface{}) []byte {
	var buffer bytes.Buffer
	buffer.WriteByte(kind)
	if err := codec.NewEncoder(&buffer, &codec.MsgpackHandle{}).Encode(message); err != nil {
		panic(err)
	}
	return buffer.Bytes()
}

// A datagram with these updates, and the mark that tells when they are applied: a user message, which memberlist hands to its user
// when no alive message waits any more.
func alives(some []update) []byte {
	var messages [][]byte
	for _, u := range some {
		messages = append(messages, encoded(kindAlive, &alive{
			Incarnation: u.incarnation,
			Node:        nameOf(u.member),
			Addr:        addressOf(u.member),
			Port:        port,
			Vsn:         versions,
		}))
	}
	messages = append(messages, []byte{kindUser, 1})
	datagram := []byte{kindCompound, byte(len(messages))}
	for _, message := range messages {
		var length [2]byte
		binary.BigEndian.PutUint16(length[:], uint16(len(message)))
		datagram = append(datagram, length[:]...)
	}
	for _, message := range messages {
		datagram = append(datagram, message...)
	}
	return datagram
}

func pingFrom(number int) []byte {
	return encoded(kindPing, &ping{
		SeqNo:      7,
		Node:       nameOf(0),
		SourceAddr: addressOf(number),
		SourcePort: port,
		SourceNode: nameOf(number),
	})
}
