//! P4Info's text form: there and back, always the same, and nothing bad from bad texts.

#![forbid(unsafe_code)]

use gantry_p4_proto::config::{
    MatchField, P4BitTypeSpec, P4SerializableEnumTypeSpec, P4StructTypeSpec, P4TypeInfo, PkgInfo, Preamble, Table,
    match_field, p4_serializable_enum_type_spec,
};
use gantry_p4_proto::{Message as _, P4Info, text};

fn sample() -> P4Info {
    let member =
        p4_serializable_enum_type_spec::Member { name: "UP".into(), value: vec![0x2a, 0], ..Default::default() };
    P4Info {
        pkg_info: Some(PkgInfo { name: "packet".into(), arch: "pna".into(), ..PkgInfo::default() }),
        tables: vec![Table {
            preamble: Some(Preamble {
                id: 0x0200_0001,
                name: "Main.acl".into(),
                annotations: vec!["@owner(\"control\")".into()],
                ..Preamble::default()
            }),
            match_fields: vec![MatchField {
                id: 1,
                bitwidth: 32,
                r#match: Some(match_field::Match::MatchType(match_field::MatchType::Ternary.into())),
                ..MatchField::default()
            }],
            size: 64,
            ..Table::default()
        }],
        type_info: Some(P4TypeInfo {
            structs: (0..20).map(|n| (format!("s{n:02}"), P4StructTypeSpec::default())).collect(),
            serializable_enums: [(
                "state_t".to_owned(),
                P4SerializableEnumTypeSpec {
                    underlying_type: Some(P4BitTypeSpec { bitwidth: 16 }),
                    members: vec![member],
                    ..P4SerializableEnumTypeSpec::default()
                },
            )]
            .into(),
            ..P4TypeInfo::default()
        }),
        ..P4Info::default()
    }
}

#[test]
fn there_and_back() {
    let info = sample();
    let text = text::to_text(&info);
    assert!(text.contains("  match_type: TERNARY\n"), "{text}");
    assert!(
        text.contains(r#"annotations: "@owner(\"control\")""#) || text.contains(r#"["@owner(\"control\")"]"#),
        "{text}"
    );
    assert_eq!(text::from_text(&text).expect("its own text"), info);
    assert_eq!(P4Info::decode(info.encode_to_vec().as_slice()).expect("its own bytes"), info);
    assert_eq!(text::to_text(&P4Info::default()), "");
}

#[test]
fn the_same_p4info_gives_the_same_text() {
    let first = text::to_text(&sample());
    for _ in 0..8 {
        assert_eq!(text::to_text(&sample()), first);
    }
    let at = |name: &str| first.find(name).expect(name);
    assert!(at("\"s03\"") < at("\"s04\"") && at("\"s09\"") < at("\"s10\""));
}

#[test]
fn what_is_not_p4info_is_refused() {
    for bad in
        ["tables {", "no_such_field: 1", "tables { size: \"x\" }", "}", "tables { preamble { id: 99999999999 } }", "\""]
    {
        assert!(matches!(text::from_text(bad), Err(text::Error::Format(_))), "{bad}");
    }
    let deep = format!("digests {{ type_spec {{ {} }} }}", "tuple { members { ".repeat(100_000));
    assert!(matches!(text::from_text(&deep), Err(text::Error::Depth)));
    let words =
        "pkg_info { name: \"{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{\" } # {{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{\n";
    assert!(text::from_text(words).is_ok(), "braces in strings and comments are none");
}
