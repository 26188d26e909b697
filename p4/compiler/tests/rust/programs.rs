//! The programs whose Rust is run, in the intermediate form.

use gantry_p4c::ir::{
    Argument, BinaryOp, Entry, ExprKind, ExternKind, HeaderId, Match, MatchKind, Outcome, Place, Program, Stmt, Target,
    Transition, Type, Unit, VarId, VarKind,
};

use crate::build::{Build, apply, assign, binary, bits, call, expr, num, to, value, whole};

const INPUT: VarKind = VarKind::Metadata { input: true, output: false };
const OUTPUT: VarKind = VarKind::Metadata { input: false, output: true };

fn select(key: gantry_p4c::ir::Expr, cases: Vec<(Match, Target)>) -> Transition {
    let cases = cases.into_iter().map(|(wanted, target)| (vec![wanted], target)).collect();
    Transition::Select { keys: vec![key], cases }
}

fn valid(header: HeaderId) -> gantry_p4c::ir::Expr {
    expr(ExprKind::Valid(header), Type::Bool)
}

/// RoCE over IPv4, with a tag or without: every kind of table, headers that come and go, counters, externs, a checksum.
pub(crate) fn roce() -> Program {
    let mut b = Build::new();
    b.program.name = "roce".into();
    let ethernet = b.header("hdr.ethernet", &[("destination", 48), ("source", 48), ("ether_type", 16)]);
    let vlan = b.header("hdr.vlan", &[("pcp", 3), ("dei", 1), ("vid", 12), ("ether_type", 16)]);
    let ipv4 = b.header(
        "hdr.ipv4",
        &[
            ("version", 4),
            ("ihl", 4),
            ("dscp", 6),
            ("ecn", 2),
            ("total_length", 16),
            ("identification", 16),
            ("flags", 3),
            ("fragment", 13),
            ("ttl", 8),
            ("protocol", 8),
            ("checksum", 16),
            ("source", 32),
            ("destination", 32),
        ],
    );
    let udp = b.header("hdr.udp", &[("source", 16), ("destination", 16), ("length", 16), ("checksum", 16)]);
    let bth = b.header(
        "hdr.bth",
        &[
            ("opcode", 8),
            ("solicited", 1),
            ("migrated", 1),
            ("pad", 2),
            ("version", 4),
            ("pkey", 16),
            ("fecn", 1),
            ("becn", 1),
            ("reserved6", 6),
            ("dest_qp", 24),
            ("ack_request", 1),
            ("reserved7", 7),
            ("psn", 24),
        ],
    );
    let reth = b.header("hdr.reth", &[("address", 64), ("rkey", 32), ("length", 32)]);
    let port = b.var("istd.port", bits(8), INPUT);
    let parser_error = b.var("istd.parser_error", bits(8), INPUT);
    b.program.parser_error = Some(parser_error);
    let lcore = b.var("meta.lcore", bits(8), OUTPUT);
    let context = b.var("meta.context", bits(32), OUTPUT);
    let class = b.var("meta.class", bits(4), OUTPUT);
    let verdict = b.var("meta.verdict", bits(8), OUTPUT);
    let hop = b.var("meta.hop", bits(48), OUTPUT);
    let seen = b.var("meta.seen", bits(128), OUTPUT);
    let longer = b.local("longer", 9);
    let crossing = b.local("crossing", 24);
    let dark = b.local("dark", 8);
    let field = |b: &Build, header, name| b.read(b.field(header, name));

    let (by_type, by_inner) = (field(&b, ethernet, "ether_type"), field(&b, vlan, "ether_type"));
    let (by_protocol, by_port) = (field(&b, ipv4, "protocol"), field(&b, udp, "destination"));
    let by_opcode = field(&b, bth, "opcode");
    let next_ip = (value(0x0800), to(2));
    let fine = binary(
        BinaryOp::LogicalAnd,
        binary(BinaryOp::Eq, field(&b, ipv4, "version"), num(4, 4)),
        binary(BinaryOp::Ge, field(&b, ipv4, "ihl"), num(5, 4)),
    );
    let options = binary(BinaryOp::Sub, field(&b, ipv4, "ihl"), num(5, 4));
    let options = expr(ExprKind::Cast(options.into()), bits(32));
    b.parser(vec![
        (
            "start",
            vec![Stmt::Extract(ethernet)],
            select(by_type, vec![(value(0x8100), to(1)), next_ip, (Match::Any, Target::Accept)]),
        ),
        ("tag", vec![Stmt::Extract(vlan)], select(by_inner, vec![next_ip, (value(0x86dd), Target::Reject)])),
        (
            "internet",
            vec![
                Stmt::Extract(ipv4),
                Stmt::Verify { condition: fine, error: 3 },
                Stmt::Advance(binary(BinaryOp::Shl, options, num(5, 8))),
            ],
            select(
                by_protocol,
                vec![(value(17), to(3)), (Match::Range { low: 200, high: 220 }, to(6)), (Match::Any, Target::Accept)],
            ),
        ),
        (
            "datagram",
            vec![Stmt::Extract(udp)],
            select(by_port, vec![(value(4791), to(4)), (Match::Any, Target::Accept)]),
        ),
        (
            "transport",
            vec![Stmt::Extract(bth)],
            select(
                by_opcode,
                vec![
                    (value(0x0c), to(5)),
                    (Match::Mask { value: 0x06, mask: 0xfe }, to(5)),
                    (Match::Any, Target::Accept),
                ],
            ),
        ),
        ("remote", vec![Stmt::Extract(reth)], Transition::To(Target::Accept)),
        (
            "ahead",
            vec![
                assign(longer, expr(ExprKind::Lookahead, bits(9))),
                assign(context, expr(ExprKind::Cast(b.read(longer).into()), bits(32))),
            ],
            Transition::To(Target::Accept),
        ),
    ]);

    // Counters, checksum, externs.
    let reasons = b.instance("C.reasons", 0x1200_0001, ExternKind::Counter { size: 4, unit: Unit::PacketsAndBytes });
    let per_qp = b.instance(
        "C.per_qp",
        0x1300_0001,
        ExternKind::DirectCounter { unit: Unit::Packets, table: gantry_p4c::ir::TableId(0) },
    );
    let checksum = b.instance("D.checksum", 0, ExternKind::InternetChecksum);

    let drop_it = |verdict_value: u128| {
        move |b: &Build, _: &[VarId]| {
            let _ = b;
            vec![
                assign(verdict, num(verdict_value, 8)),
                call(Some(reasons), "count", vec![Argument::In(num(verdict_value, 3))], None),
            ]
        }
    };
    let no_qp = b.action("C.no_qp", &[], |b, vars| {
        let mut body = drop_it(1)(b, vars);
        body.push(call(Some(per_qp), "count", vec![], None));
        body.push(Stmt::Exit);
        body
    });
    let to_qp = b.action("C.to_qp", &[("lcore", 8), ("context", 32), ("type", 4)], |b, vars| {
        vec![
            assign(lcore, b.read(vars[0])),
            assign(context, b.read(vars[1])),
            assign(class, b.read(vars[2])),
            call(Some(per_qp), "count", vec![], None),
        ]
    });
    let dest_qp = b.field(bth, "dest_qp");
    let qps = b.table("C.qps", &[(dest_qp, MatchKind::Exact), (port, MatchKind::Exact)], &[no_qp, to_qp]);
    b.declared(qps).direct = vec![per_qp];

    let nothing = b.action("C.nothing", &[], |_, _| vec![]);
    let next_hop = b.action("C.next_hop", &[("hop", 48)], |b, vars| vec![assign(hop, b.read(vars[0]))]);
    let destination = b.field(ipv4, "destination");
    let routes = b.table("C.routes", &[(destination, MatchKind::Lpm)], &[nothing, next_hop]);

    let deny = b.action("C.deny", &[("why", 2)], |b, vars| {
        vec![
            assign(verdict, num(2, 8)),
            call(Some(reasons), "count", vec![Argument::In(b.read(vars[0]))], None),
            Stmt::If {
                condition: binary(BinaryOp::Eq, b.read(vars[0]), num(3, 2)),
                then: vec![Stmt::Return],
                otherwise: vec![],
            },
            assign(class, num(9, 4)),
        ]
    });
    let (source, opcode, psn) = (b.field(ipv4, "source"), b.field(bth, "opcode"), b.field(bth, "psn"));
    let rules = b.table(
        "C.rules",
        &[
            (source, MatchKind::Ternary),
            (opcode, MatchKind::Range),
            (port, MatchKind::Optional),
            (psn, MatchKind::Ternary),
        ],
        &[nothing, deny],
    );

    let tag = b.action("C.tag", &[("vid", 12), ("pcp", 3)], |b, vars| {
        vec![
            Stmt::If {
                condition: expr(ExprKind::Not(valid(vlan).into()), Type::Bool),
                then: vec![
                    Stmt::SetValid { header: vlan, valid: true },
                    assign(b.field(vlan, "ether_type"), b.read(b.field(ethernet, "ether_type"))),
                    assign(b.field(ethernet, "ether_type"), num(0x8100, 16)),
                ],
                otherwise: vec![],
            },
            assign(b.field(vlan, "vid"), b.read(vars[0])),
            Stmt::Assign {
                place: Place { var: b.field(vlan, "pcp"), slice: Some((2, 1)) },
                value: expr(ExprKind::Slice { of: b.read(vars[1]).into(), hi: 1, lo: 0 }, bits(2)),
            },
        ]
    });
    let untag = b.action("C.untag", &[], |b, _| {
        vec![
            assign(b.field(ethernet, "ether_type"), b.read(b.field(vlan, "ether_type"))),
            Stmt::SetValid { header: vlan, valid: false },
        ]
    });
    let tags = b.table("C.tags", &[(lcore, MatchKind::Exact)], &[nothing, tag, untag]);
    b.declared(tags).entries =
        vec![Entry { matches: vec![Match::Value(0)], priority: 0, action: tag, arguments: vec![7, 5] }];
    let keyless = b.table("C.last", &[], &[next_hop, nothing]);
    b.declared(keyless).default_action = (next_hop, vec![0xabc]);

    let ttl = b.field(ipv4, "ttl");
    let ecn = b.field(ipv4, "ecn");
    let sum = b.field(ipv4, "checksum");
    let is_roce = valid(bth);
    let routed = Stmt::Apply {
        table: routes,
        then: Outcome::Hit {
            hit: vec![assign(ttl, binary(BinaryOp::SubSaturating, b.read(ttl), num(1, 8)))],
            miss: vec![Stmt::If {
                condition: binary(BinaryOp::Eq, b.read(port), num(3, 8)),
                then: vec![assign(verdict, num(3, 8)), Stmt::Return],
                otherwise: vec![],
            }],
        },
    };
    let ruled = Stmt::Apply {
        table: rules,
        then: Outcome::Action {
            cases: vec![(vec![deny], vec![assign(dark, num(5, 8))])],
            otherwise: vec![
                apply(tags),
                call(
                    None,
                    "mark",
                    vec![Argument::In(b.read(crossing)), Argument::Out(whole(class)), Argument::In(num(1, 1))],
                    Some(ecn),
                ),
            ],
        },
    };
    let wide = expr(
        ExprKind::Concat(
            expr(
                ExprKind::Concat(b.read(b.field(ethernet, "source")).into(), b.read(b.field(bth, "psn")).into()),
                bits(72),
            )
            .into(),
            expr(ExprKind::Cast(b.read(dark).into()), bits(56)).into(),
        ),
        bits(128),
    );
    b.control(vec![
        assign(crossing, b.read(b.field(bth, "psn"))),
        Stmt::If { condition: is_roce, then: vec![apply(qps), ruled], otherwise: vec![assign(dark, num(2, 8))] },
        assign(crossing, binary(BinaryOp::Add, b.read(crossing), num(0xff_fff0, 24))),
        Stmt::If { condition: valid(ipv4), then: vec![routed], otherwise: vec![apply(keyless)] },
        assign(seen, wide),
        assign(
            context,
            binary(BinaryOp::Xor, b.read(context), expr(ExprKind::Cast(b.read(crossing).into()), bits(32))),
        ),
    ]);
    b.deparser(&[ethernet, vlan, ipv4, udp, bth, reth]);
    let summed = ["version", "ihl", "dscp", "ecn", "total_length", "identification", "flags", "fragment", "ttl"];
    let mut arguments: Vec<_> = summed.iter().map(|name| Argument::In(field(&b, ipv4, name))).collect();
    arguments.extend(["protocol", "source", "destination"].map(|name| Argument::In(field(&b, ipv4, name))));
    let body = &mut b.program.deparser.as_mut().expect("a deparser").body;
    let update = Stmt::If {
        condition: valid(ipv4),
        then: vec![
            call(Some(checksum), "clear", vec![], None),
            call(Some(checksum), "add", arguments.clone(), None),
            call(Some(checksum), "subtract", arguments[9..].to_vec(), None),
            call(Some(checksum), "add", arguments[9..].to_vec(), None),
            call(Some(checksum), "get", vec![], Some(sum)),
        ],
        otherwise: vec![],
    };
    body.insert(0, update);
    b.program
}
