//! Parsers and deparsers.

use gantry_p4c::ir::Stmt;

use crate::from_text::{accepted, in_parser, refused};
use crate::show;

fn states(text: &str) -> String {
    show::parser(&accepted(&in_parser("", "", text)))
}

fn wrong(text: &str) -> Vec<String> {
    refused(&in_parser("", "", text))
}

#[test]
fn states_come_before_their_successors() {
    assert_eq!(
        states(
            "state last { transition accept; }
             state start { pkt.extract(hdr.a); transition select(hdr.a.kind) { 1: one; 2: two; default: reject; } }
             state two { pkt.extract(hdr.b); transition last; }
             state one { pkt.extract(hdr.c); transition two; }
             state unreached { transition last; }"
        ),
        "start:\nextract hdr.a\nselect hdr.a.kind\n1 -> one\n2 -> two\n_ -> reject\n\
         one:\nextract hdr.c\n-> two\n\
         two:\nextract hdr.b\n-> last\n\
         last:\n-> accept\n"
    );
}

#[test]
fn loops_are_shown() {
    assert_eq!(
        wrong(
            "state start { transition a; } state a { transition select(hdr.a.kind) { 1: b; default: accept; } } state b { transition a; }"
        ),
        ["the parser goes round: a -> b -> a"]
    );
    assert_eq!(wrong("state start { transition start; }"), ["the parser goes round: start -> start"]);
}

#[test]
fn a_long_parser_is_no_deep_one() {
    let mut text = "state start { transition s0; }\n".to_owned();
    for place in 0..3000 {
        text += &format!("state s{place} {{ transition s{}; }}\n", place + 1);
    }
    text += "state s3000 { transition accept; }";
    assert_eq!(accepted(&in_parser("", "", &text)).parser.expect("a parser").states.len(), 3002);
}

#[test]
fn selects_match_tuples_masks_and_ranges() {
    assert_eq!(
        states(
            "state start { pkt.extract(hdr.a);
               transition select(hdr.a.kind, hdr.a.more) {
                 (1, 5 .. 9): accept; (0xf0 &&& 0xf0, _): reject; (_, 7): accept; default: reject; (1, 1): accept; } }"
        ),
        "start:\nextract hdr.a\nselect hdr.a.kind, hdr.a.more\n1, 5..9 -> accept\n0xf0&&&0xf0, _ -> reject\n_, 7 -> accept\n_, _ -> reject\n"
    );
    assert_eq!(states("state start { transition select(hdr.a.kind) { _: accept; } }"), "start:\n-> accept\n");
    assert_eq!(states("state start { pkt.extract(hdr.a); }"), "start:\nextract hdr.a\n-> reject\n");
    assert_eq!(
        wrong("state start { transition select(hdr.a.kind) { (1, 2): accept; } }"),
        ["the select has 1 keys, the case 2"]
    );
    assert_eq!(
        wrong("state start { transition select(hdr.a) { default: accept; } }"),
        ["a select looks at bits, bools, enums or errors, not at a_t"]
    );
    assert_eq!(
        wrong("state start { transition select(hdr.a.kind) { hdr.a.len: accept; } }"),
        ["what is matched against must be constant"]
    );
    assert_eq!(wrong("state start { transition select(hdr.a.kind) { 300: accept; } }"), ["300 does not fit bit<8>"]);
}

#[test]
fn the_packet_is_looked_at_and_skipped() {
    assert_eq!(
        states(
            "state start {
               bit<8> next = pkt.lookahead<bit<8>>();
               a_t seen = pkt.lookahead<a_t>();
               pkt.advance(16);
               pkt.advance((bit<32>)next << 3);
               meta.w = (bit<16>)pkt.length() + seen.more;
               verify(seen.len == 2, error.NoMatch);
               transition select(pkt.lookahead<bit<4>>()) { 6: accept; default: reject; } }"
        ),
        "start:\nnext = lookahead<8>\nahead = lookahead<32>\nvalid seen\nseen.kind = ahead[31:24]\nseen.len = ahead[23:16]\n\
         seen.more = ahead[15:0]\nadvance 32w16\nadvance ((bit<32>)next << 8w3)\nmeta.w = ((bit<16>)length + seen.more)\n\
         verify (seen.len == 8w2) else NoMatch\nselect lookahead<4>\n6 -> accept\n_ -> reject\n"
    );
}

#[test]
fn a_verify_that_holds_is_left_out() {
    assert_eq!(states("state start { verify(true, error.NoMatch); transition accept; }"), "start:\n-> accept\n");
    assert_eq!(
        states("state start { verify(false, error.NoMatch); meta.x = 1; transition accept; }"),
        "start:\nverify false else NoMatch\n-> accept\n"
    );
    assert_eq!(
        wrong("state start { verify(meta.x, error.NoMatch); transition accept; }"),
        ["a condition must be a bool, not bit<8>"]
    );
    assert_eq!(
        wrong("state start { verify(true, 3); transition accept; }"),
        ["this is a number without a width where error is expected"]
    );
}

#[test]
fn locals_of_a_parser_start_with_it() {
    let program = accepted(&in_parser(
        "",
        "bit<8> n = 3; InternetChecksum() sum;",
        "state start { sum.add({hdr.a.kind, n}); meta.w = sum.get(); transition accept; }",
    ));
    assert_eq!(
        show::parser(&program),
        "start:\nn = 8w3\nP.sum.add(hdr.a.kind, n)\nget = P.sum.get()\nmeta.w = get\n-> accept\n"
    );
}

#[test]
fn what_parsers_cannot_do_is_refused() {
    assert_eq!(wrong("state begin { transition accept; }"), ["the parser has no state `start`"]);
    assert_eq!(wrong("state start { transition nowhere; }"), ["there is no state `nowhere`"]);
    assert_eq!(
        wrong("state start { transition accept; } state accept { transition reject; }"),
        ["state `accept` is there by itself (P4_16 §13.1)"]
    );
    assert_eq!(
        wrong("state start { transition accept; } state start { transition reject; }"),
        ["state `start` is declared twice"]
    );
    assert_eq!(
        wrong("state start { pkt.extract(hdr); transition accept; }"),
        ["only headers can be extracted, not headers_t"]
    );
    assert_eq!(
        wrong("state start { pkt.extract(meta.w); transition accept; }"),
        ["only headers can be extracted, not bit<16>"]
    );
    assert_eq!(
        wrong("state start { pkt.extract(hdr.a, 32); transition accept; }"),
        ["`extract` does not take 2 arguments"]
    );
    assert_eq!(
        wrong("state start { meta.w = pkt.lookahead(); transition accept; }"),
        ["`lookahead` needs the type to look at"]
    );
    assert_eq!(wrong("state start { pkt.emit(hdr.a); transition accept; }"), ["`packet_in` has no method `emit`"]);
    assert_eq!(
        wrong("state start { istd.recirculated = true; transition accept; }"),
        ["this is an input and cannot be assigned to"]
    );
    let wide = "struct wide_t { bit<128> a; bit<8> b; }";
    assert_eq!(
        refused(&in_parser(wide, "", "state start { wide_t w = pkt.lookahead<wide_t>(); transition accept; }")),
        ["`lookahead` of 136 bits: at most 128 can be looked at"]
    );
}

#[test]
fn a_deparser_emits_a_struct_s_headers_in_order() {
    let program = accepted(&in_parser("", "", "state start { transition accept; }"));
    let deparser = program.deparser.as_ref().expect("a deparser");
    let headers: Vec<_> = deparser
        .body
        .iter()
        .map(|it| match it {
            Stmt::Emit(id) => program.headers[id.index()].name.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(headers, ["hdr.a", "hdr.b", "hdr.c"]);
}
