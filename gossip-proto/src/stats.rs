//! Counters: one per thing that can happen or go wrong.

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a node has done and refused since it started. Counters only grow.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Each counter with its name, in the order of declaration, for export.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

stats! {
    /// Datagrams received.
    datagrams_received,
    /// Bytes in them.
    bytes_received,
    /// Datagrams composed.
    datagrams_sent,
    /// Bytes in them.
    bytes_sent,
    /// Messages received in datagrams.
    messages_received,
    /// Datagrams dropped for their label.
    dropped_label,
    /// Datagrams dropped because no key opens them, or because they are not sealed.
    dropped_seal,
    /// Datagrams dropped for their checksum.
    dropped_crc,
    /// Datagrams dropped because a layer was malformed or empty.
    dropped_malformed,
    /// Messages dropped because their type is unknown or not allowed in a datagram.
    dropped_type,
    /// Messages dropped because they do not decode.
    dropped_decode,
    /// Compound parts that were cut off.
    compound_truncated,
    /// Layers nested deeper than allowed, or datagrams whose inflated size or message count exceeds the limit (W-6).
    dropped_limits,
    /// Pings for another node's name.
    ping_wrong_name,
    /// Pings whose source address was ignored because it is neither the sender's nor that of the member they name (W-8).
    ping_source_ignored,
    /// Acknowledgements not sent, and indirect pings not carried out, because the stranger already got an answer for this
    /// datagram, or would get more than three times what it sent.
    ack_suppressed,
    /// Indirect pings refused because the target is no member's address (W-8).
    relay_refused,
    /// Indirect pings refused because too many are in flight.
    relay_full,
    /// Acknowledgements and nacks that nothing waits for.
    ack_unknown,
    /// Alive messages refused: versions out of order or not six bytes (W-18).
    alive_bad_versions,
    /// Claims refused for an address of a length that is neither 4 nor 16 bytes, for an empty name, or for a name or
    /// metadata that is too long.
    claim_malformed,
    /// Claims refused for an incarnation that is out of reach (W-3).
    claim_refused,
    /// Alive messages refused by the CIDR list (spec 4.16).
    cidr_refused,
    /// Alive messages refused by an admission rule.
    admission_refused,
    /// Claims a member made about itself under an identity that is not its own.
    identity_refused,
    /// Two nodes with one name (spec 4.3 step 5).
    conflicts,
    /// Alive messages accepted.
    alive_accepted,
    /// Suspect messages accepted.
    suspect_accepted,
    /// Dead messages accepted.
    dead_accepted,
    /// Confirmations of a running suspicion.
    suspicions_confirmed,
    /// Times this node refuted.
    refutations,
    /// Probes begun.
    probes,
    /// Probes that ended well.
    probes_succeeded,
    /// Probes that ended in a suspicion.
    probes_failed,
    /// Probes that only the stream ping answered: datagrams to that member are lost somewhere.
    probes_saved_by_stream,
    /// Probes that never left this node.
    probes_unsent,
    /// Indirect pings sent.
    indirect_pings,
    /// Indirect pings carried out for others.
    relays,
    /// Nacks received for a running probe.
    nacks,
    /// Own stalls (late timer calls).
    stalls,
    /// Exchanges begun by us.
    exchanges_begun,
    /// Exchanges answered.
    exchanges_answered,
    /// Exchanges whose merge was refused for versions or by the application.
    merges_refused,
    /// Merges refused without asking, because too many wait for the application's answer.
    merges_unasked,
    /// Exchanges that failed.
    exchanges_failed,
    /// Attempts to join a seed that no alive member had the address of.
    seeds_tried,
    /// Exchanges beside the schedule: repeated because one showed that the two sides had given each other up, or begun because
    /// more members became known at once than gossip carries well.
    follow_ups,
    /// Times such an exchange was wanted and not begun, because there were too many lately.
    follow_ups_withheld,
    /// Members that were told what others know of them, because an exchange showed other content under the same incarnation, or
    /// left open whether a member that is taken for one that leaves has come back.
    hearsay_told,
    /// Times such a packet was wanted and not sent, because there were too many lately.
    hearsay_withheld,
    /// Streams refused because too many are open: of others, or of our own.
    streams_refused,
    /// Inbound streams ended before their time, because all places were taken, their source held several, and another one
    /// came that holds fewer.
    streams_displaced,
    /// Streams whose bytes were refused.
    streams_malformed,
    /// Streams that ran into their deadline.
    streams_timed_out,
    /// Times a stream had to wait because the exchange memory was used up.
    exchange_memory_full,
    /// Members not admitted because the roster was full.
    roster_full,
    /// Times a member joined, for the first time or again; this node's start is one.
    members_joined,
    /// Times a member left.
    members_left,
    /// Times a member was declared dead.
    members_failed,
    /// Times a member's metadata or address changed.
    members_updated,
    /// Rumors dropped because their lane was full.
    rumors_pruned,
    /// Rumors displaced by newer ones.
    rumors_displaced,
    /// Outgoing packets dropped because the outgoing queue was full.
    outgoing_full,
    /// Paths narrower than `Config::max_datagram` that were not remembered, because too many are.
    paths_full,
    /// `poll_transmit` was called with a buffer smaller than `Config::max_datagram`.
    buffer_too_small,
    /// Times `now` went back.
    time_went_back,
    /// Datagrams reported as failed by the driver.
    transmit_failed,
    /// User messages received, Serf's among them.
    user_messages,
    /// Bytes in them.
    user_bytes,
    /// User messages gossiped, once for each packet they were in.
    user_messages_sent,
    /// Bytes in them.
    user_bytes_sent,
    /// Application events lost because nobody polled.
    events_lost,
    /// Serf: messages whose type is unknown at their place.
    serf_unknown_type,
    /// Serf: Lamport times refused because they are too far ahead (Q3).
    ltime_refused,
    /// Serf: user events delivered.
    user_events,
    /// Serf: user events dropped as duplicates.
    user_events_duplicate,
    /// Serf: user events refused: too large, or too many remembered.
    user_events_refused,
    /// Serf: user events dropped as too old.
    user_events_old,
    /// Serf: intents about members not yet known, and names that left in an exchange, not remembered because too many.
    intents_full,
    /// Serf: members back within the flap timeout after they failed.
    member_flaps,
    /// Serf: attempts at addresses of members that had failed and were forgotten.
    learnt_tried,
    /// Serf: such attempts at which the member was there, and was joined.
    learnt_found,
    /// Serf: times such an address had to give way, or was not kept, because too many are.
    learnt_full,
    /// Serf: members left out of what an exchange tells of their status, because their names are too long in all.
    statuses_untold,
    /// Serf: queries received.
    queries,
    /// Serf: queries dropped before re-gossip because they would crash upstream nodes (Q1).
    queries_malformed,
    /// Serf: queries dropped as duplicates.
    queries_duplicate,
    /// Serf: queries dropped as too old.
    queries_old,
    /// Serf: queries dropped because too many of one Lamport time are remembered (Q7), or came in one datagram.
    queries_refused,
    /// Serf: queries that could no longer be answered because too many were open.
    queries_evicted,
    /// Serf: filters that are none, or expressions that are invalid, too expensive or too many at once; they match nobody.
    query_filters_refused,
    /// Serf: internal queries of an unknown kind.
    queries_internal_unknown,
    /// Serf: own queries sent again, directly, to members that were silent (Q6).
    queries_resent,
    /// Serf: acknowledgements and answers to others that could not be sent: the asker is unknown, or no room.
    query_answers_unsent,
    /// Serf: answers that went straight only, because a relay's wrapper would be too large.
    query_answers_unrelayed,
    /// Serf: acknowledgements of own queries.
    query_acks,
    /// Serf: answers to own queries.
    query_responses,
    /// Serf: acknowledgements that came twice.
    query_duplicate_acks,
    /// Serf: answers that came twice.
    query_duplicate_responses,
    /// Serf: acknowledgements and answers to no query that runs.
    query_answers_late,
    /// Serf: acknowledgements and answers that do not count: from no member, or not asked for (Q5).
    query_answers_refused,
    /// Serf: votes on the own name that were begun.
    name_conflicts,
    /// Serf: answers passed on for others.
    serf_relayed,
    /// Serf: relay requests refused: something else than an answer, or not to a member (Q4).
    serf_relay_refused,
    /// Changes of the keyring taken back because the file could not be written.
    keyring_unstored,
    /// Serf: round trips that moved this node's network coordinate.
    coordinates_updated,
    /// Serf: of those, round trips too short for the clock.
    coordinate_zero_rtts,
    /// Serf: how far they moved it in all, in nanoseconds of round trip time.
    coordinate_moved_nanos,
    /// Serf: coordinates in acks refused: of another version or space, or such as no network has (Q9).
    coordinates_rejected,
    /// Serf: times this node lost its place and started over at the origin.
    coordinate_resets,
}
