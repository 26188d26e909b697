// Every construct of the subset's grammar, whether it means something or not.

#include <core.p4>

#define WIDTH 8
#define ETHER_IPV4 16w0x0800

/// A number with a width.
const bit<WIDTH> ONE = 8w0x0_1;
const int PLAIN = 0b101 + 0o17 - 0d9;
const bit<(WIDTH * 2)> DOUBLE = (bit<16>)ONE ++ 8w0;
const bool FLAG = true && !false || ONE == 1;
const string WORDS = "a \"word\"";

typedef bit<48> mac_t;
@p4runtime_translation("gantry.dev/v1/port_t", 32)
type bit<32> port_t;

enum bit<16> ether_type_t { IPV4 = ETHER_IPV4, IPV6 = 0x86DD, }
enum color_t { GREEN, YELLOW, RED }
error { Odd, Even }
match_kind { range, optional }

/** The link's header. */
header ethernet_h {
    /// Where to.
    mac_t   destination;
    mac_t   source;
    @hexadecimal bit<16> ether_type;
}

header flag_h { bit flag; bit<7> rest; }
struct empty_t { }
struct pair_t<T> { T first; T second; }
struct headers_t { ethernet_h ethernet; flag_h flag; }
struct metadata_t { bool seen; bit<8> state; error failed; pair_t<bit<8>> pair; }

extern Counter<W, S> {
    Counter(bit<32> size, color_t kind = color_t.RED);
    @brief("Counts.")
    void count(in S index);
    W read<T>(in T index, out bool found);
}
extern void verify_all<T>(in bool check, inout T data);
extern bit<8> random();

action outside() { }

parser Parser_T<H, M>(packet_in packet, out H hdr, inout M meta);
control Control_T<H, M>(inout H hdr, inout M meta)
;
package Nic<H, M>(Parser_T<H, M> parse, Control_T<H, M> work, int size = 4);

@name("the_parser") @id(0x10) @list[1, "two", three] @pairs[a = 1, b = "c"] @any(tokens + : ! [;])
parser P(packet_in packet, out headers_t hdr, inout metadata_t meta)(bit<8> limit) {
    const bit<8> LIMIT = 4;
    bit<8> local = LIMIT;
    Counter<bit<64>, bit<8>>(16) counter;
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.ether_type, packet.lookahead<bit<8>>()[3:0], meta.seen) {
            (ether_type_t.IPV4, 4w5, _): next;
            (0x0600 .. 0xFFFF, 0x4 &&& 0xC, true): next;
            (ONE << 2, default, false): reject;
            _: accept;
        }
    }
    state next {
        bit<8> length = packet.lookahead<flag_h>().rest ++ 1w0;
        verify(length > 1 && length < (bit<8>)LIMIT, error.Odd);
        packet.advance((bit<32>)length);
        if (length == 2) { meta.seen = true; } else meta.seen = false;
        { ; }
        transition select(length) { 1: accept; default: last; }
    }
    state last { }
}

control C(inout headers_t hdr, inout metadata_t meta) {
    Counter<bit<64>, bit<8>>(size = 16, kind = color_t.GREEN) counter;
    bit<8> type;
    bit<8> state = 0;
    action set(inout bit<8> target, in bit<8> source, @id(2) bit<8> value, port_t port) {
        target = value;
        target[3:0] = source[7:4];
        hdr.flag.setValid();
        return;
    }
    action drop() { exit; }
    table t {
        key = {
            // Who sent it.
            hdr.ethernet.source : exact @name("source");
            hdr.ethernet.ether_type[7:0] : ternary;
            meta.state ++ 8w1 : range @id(3) @name("r");
        }
        actions = {
            set(meta.state, ONE);
            @defaultonly .outside;
            drop;
        }
        const default_action = outside();
        const entries = {
            (1, 2 &&& 3, 4 .. 5) : set(meta.state, ONE, 1, (port_t)2) @name("one");
            const priority = 10: (_, default, 6) : drop();
            priority = (ONE + 1): (7, _, _) : outside;
        }
        largest_priority_wins = false;
        size = 1 << 10;
        counters = counter;
        pna_idle_timeout = color_t.GREEN;
        const psa_extra = { 1, { "a", 2 }, ... };
    }
    table u { actions = { drop; } default_action = drop; }
    apply {
        const bit<8> two = 2;
        bit<16> x = meta.state ++ two;
        if (t.apply().hit) { } else if (!u.apply().miss) { drop(); } else { return; }
        switch (t.apply().action_run) {
            drop:
            set: { x = 1; }
            .outside: { }
            default: { exit; }
        }
        switch (x) { 1: 2: { x = (bit<16>)two; } }
        x = x == 1 ? 2 : x < 3 ? 4 : 5;
        x = x |+| 1 |-| 2 * 3 / 4 % 5 - 6 + 7;
        x = ~x & 1 ^ 2 | -x << 3 >> +1;
        meta.seen = (type) - 1 == 2 && (x) > (3) || state >= 1 && state <= 2 && state != 3;
        counter.count((bit<8>)hdr.ethernet.ether_type);
        state = counter.read<bit<8>>(index = 1, found = _)[7:0];
        verify_all<tuple<bit<8>, bool>>(true, { 1, false });
        meta.pair = { first = 1, second = 2 };
        @fast { hdr.flag.rest = hdr.flag.rest + 1; }
        @unlikely bit<8> y;
        ;
    }
}

Nic(P(4), C(), size = 8) main;
