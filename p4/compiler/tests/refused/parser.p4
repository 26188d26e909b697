// Parsers that do not end, or go nowhere (P4_16 §13).

#define OWN_PARSER
#include "../parts/frame.p4"

parser MainParser(
    packet_in packet,
    out headers_t hdr,
    inout metadata_t meta,
    in pna_main_parser_input_metadata_t istd)
{
    state start {
        packet.extract(hdr.ethernet);
        packet.extract(hdr.none);
        packet.emit(hdr.ethernet);
        transition select(hdr.ethernet.ether_type) {
            1: round;
            2: nowhere;
            (3, 4): accept;
            meta.tenant: accept;
        }
    }
    state round { transition again; }
    state again { transition round; }
    state round { transition accept; }
    state accept { }
}

PNA_NIC(MainParser(), MainControl(), MainDeparser()) main;
