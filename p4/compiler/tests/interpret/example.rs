//! A small router in the intermediate form, with one of everything that the emitters write about.

use gantry_p4c::ir::{
    ActionId, ActionScope, BinaryOp, Control, ControllerHeader, Deparser, Entry, Enum, ExprKind, ExternKind, Match,
    MatchKind, NewType, Notes, Outcome, Program, Stmt, TableAction, TableId, Target, Transition, Type, Unit, VarKind,
};

use crate::build::{BOOL, Build, assign, binary, call, expr, num, to, value};

fn notes(brief: &str, description: &str, annotations: &[&str]) -> Notes {
    let annotations = annotations.iter().map(|&each| each.to_owned()).collect();
    Notes { brief: brief.into(), description: description.into(), annotations, new_type: String::new() }
}

fn new_type(name: &str, annotations: &[&str]) -> Notes {
    Notes { new_type: name.into(), ..notes("", "", annotations) }
}

/// The router.
pub(crate) fn router() -> Program {
    let mut build = Build::new();
    build.program.name = "router".into();
    build.program.notes =
        notes("Routes.", "Routes IPv4.", &[r#"@pkginfo(version="2", organization="gantry")"#, "@own"]);
    types(&mut build);

    let ethernet = build.header("hdr.ethernet", &[("destination", 48), ("source", 48), ("ether_type", 16)]);
    let ipv4 = build.header("hdr.ipv4", &[("version", 4), ("rest", 60), ("ttl", 8), ("protocol", 8), ("source", 32)]);
    build.program.headers[1].doc = "RFC 791, | cut short.".into();
    let protocol = build.field(ipv4, "protocol");
    build.program.vars[protocol.index()].of_enum = Some(0);
    let metadata = VarKind::Metadata { input: true, output: false };
    let (port, name) =
        (build.var("istd.port", Type::Bits(9), metadata), build.var("meta.name", Type::Bits(9), metadata));
    let tagged = build.var("meta.tagged", BOOL, metadata);
    let verdict = build.local("verdict", 8);
    build.program.vars[verdict.index()].of_enum = Some(1);

    let (lpm, acl, fixed) = (TableId(0), TableId(1), TableId(2));
    let counter = ExternKind::DirectCounter { unit: Unit::PacketsAndBytes, table: lpm };
    let counter = build.instance("Ingress.lpm.hits", 0x1300_0001, counter);
    let meter =
        build.instance("Ingress.lpm.rate", 0x1500_0001, ExternKind::DirectMeter { unit: Unit::Bytes, table: lpm });
    build.instance("Ingress.drops", 0x1200_0001, ExternKind::Counter { size: 16, unit: Unit::Packets });
    build.instance("Ingress.limits", 0x1400_0001, ExternKind::Meter { size: 8, unit: Unit::Packets });
    build.instance("Ingress.seen", 0x1600_0001, ExternKind::Register { size: 4, bits: 48 });
    let fields = vec![("source".to_owned(), Type::Bits(32)), ("tagged".to_owned(), BOOL)];
    build.instance("Ingress.learn", 0x1700_0001, ExternKind::Digest { fields, type_name: "learn_t".into() });
    build.instance("Ingress.sum", 0, ExternKind::InternetChecksum);
    let own = ExternKind::Other { type_name: "Own".into(), arguments: vec![] };
    build.instance("Ingress.own", 0x8100_0001, own);
    let secret = build.instance("Ingress.secret", 0x1200_0002, ExternKind::Counter { size: 1, unit: Unit::Bytes });
    build.program.externs[secret.index()].notes = notes("", "", &["@hidden"]);
    build.program.externs[2].notes = notes("Packets that were dropped.", "By reason.", &[]);

    let nothing = build.action("NoAction", &[], |_, _| vec![]);
    let forward = build.action("Ingress.forward", &[("port", 9), ("mac", 48)], |_, _| {
        vec![call(Some(counter), "count", vec![], None)]
    });
    build.program.actions[forward.index()].notes = notes("Out there.", "", &[]);
    build.program.actions[forward.index()].parameter_notes =
        vec![new_type("PortId_t", &[]), notes("The next hop's.", "", &["@id(7)"])];
    let drop = build.action("Ingress.drop", &[("why", 8)], |_, _| vec![Stmt::Exit]);
    let why = build.program.actions[drop.index()].parameters[0];
    build.program.vars[why.index()].of_enum = Some(1);
    let called = build.action("Ingress.called", &[], |_, _| vec![]);
    assert_eq!(called, ActionId(3));

    let ttl = build.field(ipv4, "ttl");
    let source = build.field(ipv4, "source");
    build.table("Ingress.routes", &[(source, MatchKind::Lpm)], &[nothing, forward, drop]);
    let declared = build.declared(lpm);
    declared.notes = notes("Where packets go.", "", &[r#"@owner("control")"#]);
    declared.direct = vec![counter, meter];
    declared.idle_timeout = true;
    declared.actions[0].scope = ActionScope::Default;
    declared.actions[1].scope = ActionScope::Entries;

    let keys = [
        (port, MatchKind::Optional),
        (name, MatchKind::Exact),
        (protocol, MatchKind::Ternary),
        (ttl, MatchKind::Range),
    ];
    build.table("Ingress.acl.routes", &keys, &[drop, nothing]);
    let declared = build.declared(acl);
    declared.keys[0].notes = new_type("PortId_t", &[]);
    declared.keys[1].notes = new_type("PortName_t", &["@id(9)", "@own"]);
    declared.keys[3].notes = notes("How far it has come.", "", &[]);
    declared.default_action = (drop, vec![2]);
    declared.const_default = true;
    declared.entries = vec![Entry {
        matches: vec![Match::Any, value(0x123), Match::Mask { value: 6, mask: 0xfe }, Match::Range { low: 0, high: 1 }],
        priority: 1,
        action: drop,
        arguments: vec![1],
    }];

    build.table("Ingress.fixed", &[(protocol, MatchKind::Exact)], &[nothing, drop]);
    let declared = build.declared(fixed);
    let entry = |protocol, action, arguments| Entry { matches: vec![value(protocol)], priority: 0, action, arguments };
    declared.entries = vec![entry(17, nothing, vec![]), entry(99, drop, vec![2])];
    declared.const_entries = true;
    declared.size = 2;

    let inner = build.table("Ingress.inner", &[], &[called]);
    build.declared(inner).notes = notes("", "", &["@hidden"]);
    build.declared(inner).actions = vec![TableAction { action: called, scope: ActionScope::Both }];

    blocks(&mut build, [ethernet, ipv4], [lpm, acl, fixed, inner], verdict, tagged, forward);
    build.program
}

fn types(build: &mut Build) {
    let members = |members: &[(&str, u128)]| members.iter().map(|(name, value)| ((*name).into(), *value)).collect();
    build.program.enums = vec![
        Enum { name: "protocol_t".into(), bits: 8, members: members(&[("TCP", 6), ("UDP", 17)]), serializable: true },
        Enum {
            name: "why_t".into(),
            bits: 8,
            members: members(&[("NONE", 0), ("TTL", 1), ("ACL", 2)]),
            serializable: false,
        },
    ];
    let named = |name: &str, annotation: &[&str]| NewType {
        name: name.into(),
        ty: Type::Bits(9),
        notes: notes("", "", annotation),
    };
    build.program.new_types = vec![
        named("PortId_t", &[r#"@p4runtime_translation("gantry/PortId_t", bit<32>)"#]),
        named("PortName_t", &[r#"@p4runtime_translation("gantry/PortName_t", string)"#, "@own"]),
        named("Plain_t", &[]),
    ];
    let fields = |fields: &[(&str, u8)]| fields.iter().map(|(name, bits)| ((*name).into(), *bits)).collect();
    build.program.controller_headers = vec![
        ControllerHeader { name: "packet_in".into(), id: 0x0400_0001, fields: fields(&[("port", 9), ("reason", 7)]) },
        ControllerHeader { name: "packet_out".into(), id: 0x0400_0002, fields: fields(&[("port", 9)]) },
    ];
}

fn blocks(
    build: &mut Build,
    [ethernet, ipv4]: [gantry_p4c::ir::HeaderId; 2],
    [lpm, acl, fixed, inner]: [TableId; 4],
    verdict: gantry_p4c::ir::VarId,
    tagged: gantry_p4c::ir::VarId,
    forward: ActionId,
) {
    let ether_type = build.read(build.field(ethernet, "ether_type"));
    let protocol = build.read(build.field(ipv4, "protocol"));
    let version = binary(BinaryOp::Eq, build.read(build.field(ipv4, "version")), num(4, 4));
    build.parser(vec![
        (
            "start",
            vec![Stmt::Extract(ethernet)],
            Transition::Select {
                keys: vec![ether_type],
                cases: vec![(vec![value(0x0800)], to(1)), (vec![Match::Any], Target::Accept)],
            },
        ),
        (
            "ipv4",
            vec![Stmt::Extract(ipv4), Stmt::Verify { condition: version, error: 3 }],
            Transition::Select {
                keys: vec![protocol],
                cases: vec![
                    (vec![value(17)], to(2)),
                    (vec![value(6)], Target::Accept),
                    (vec![Match::Mask { value: 0x80, mask: 0x80 }], Target::Reject),
                ],
            },
        ),
        ("udp", vec![Stmt::Advance(num(64, 32))], Transition::To(Target::Accept)),
    ]);
    let valid = expr(ExprKind::Valid(ipv4), BOOL);
    let verdict_is_acl = binary(BinaryOp::Eq, build.read(verdict), num(2, 8));
    let tagged = build.read(tagged);
    let body = vec![
        Stmt::If {
            condition: binary(BinaryOp::LogicalAnd, valid, expr(ExprKind::Not(tagged.into()), BOOL)),
            then: vec![
                assign(verdict, num(0, 8)),
                Stmt::Apply { table: acl, then: Outcome::Hit { hit: vec![Stmt::Return], miss: vec![] } },
                Stmt::Apply {
                    table: lpm,
                    then: Outcome::Action {
                        cases: vec![(vec![forward], vec![Stmt::Apply { table: fixed, then: Outcome::Any }])],
                        otherwise: vec![],
                    },
                },
            ],
            otherwise: vec![],
        },
        // Decides no table, so no drawing shows it.
        Stmt::If { condition: verdict_is_acl, then: vec![assign(verdict, num(1, 8))], otherwise: vec![] },
        Stmt::Apply { table: inner, then: Outcome::Any },
    ];
    build.program.control = Some(Control { name: "Ingress".into(), body, doc: String::new() });
    build.program.deparser = Some(Deparser { name: "Out".into(), body: vec![Stmt::Emit(ethernet), Stmt::Emit(ipv4)] });
}
