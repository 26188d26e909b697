// States, selects, lookahead, advance and verify (P4_16 §13).

#define OWN_PARSER
#include "../parts/frame.p4"

error { TooOld, NotOurs }

parser MainParser(
    packet_in packet,
    out headers_t hdr,
    inout metadata_t meta,
    in pna_main_parser_input_metadata_t istd)
{
    const bit<16> IPV4 = 0x0800;
    bit<8> seen = 0;
    state start {
        meta.class = packet.lookahead<bit<8>>();
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.ether_type, meta.class[0:0], istd.recirculated) {
            (IPV4, _, false): ipv4;
            (0x8100 &&& 0xEFFF, 1, _): tag;
            (0x0600 .. 0xFFFF, default, true): reject;
            default: accept;
        }
    }
    state tag {
        seen = seen + 4;
        packet.advance(32);
        transition ipv4;
    }
    state ipv4 {
        packet.extract(hdr.ipv4);
        verify(hdr.ipv4.version == 4, error.TooOld);
        if (hdr.ipv4.ihl != 5) {
            verify(false, error.NotOurs);
        }
        transition select(hdr.ipv4.ttl) {
            0: reject;
            1: last;
            _: accept;
        }
    }
    state last {
        meta.tenant = 8w0 ++ seen;
        transition accept;
    }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
