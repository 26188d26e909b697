//! The .proto files against what P4Runtime's makers publish, name by name and number by number.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use gantry_p4_proto::text;
use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

fn enumeration(lines: &mut BTreeSet<String>, of: &EnumDescriptor) {
    for value in of.values() {
        lines.insert(format!("{}.{} = {}", of.full_name(), value.name(), value.number()));
    }
}

fn kind(of: &FieldDescriptor) -> String {
    match of.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(of) => of.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn message(lines: &mut BTreeSet<String>, of: &MessageDescriptor) {
    lines.insert(format!("message {}", of.full_name()));
    of.child_enums().for_each(|child| enumeration(lines, &child));
    of.child_messages().for_each(|child| message(lines, &child));
    for field in of.fields() {
        let repeated = if field.cardinality() == Cardinality::Repeated { "repeated " } else { "" };
        let oneof = field.containing_oneof().map(|oneof| format!(" in {}", oneof.name())).unwrap_or_default();
        lines.insert(format!("{} = {} {repeated}{}{oneof}", field.full_name(), field.number(), kind(&field)));
    }
}

/// `google.protobuf` is the library's, `gantry.` nobody else's.
fn ours_to_publish(package: &str) -> bool {
    package != "google.protobuf" && !package.starts_with("gantry.")
}

fn ours() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for file in text::pool().files().filter(|file| ours_to_publish(file.package_name())) {
        assert_eq!(file.syntax(), prost_reflect::Syntax::Proto3, "{}", file.name());
        file.enums().for_each(|of| enumeration(&mut lines, &of));
        file.messages().for_each(|of| message(&mut lines, &of));
        for method in file.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let stream = |is| if is { "stream " } else { "" };
            lines.insert(format!(
                "{}/{}({}{}) {}{}",
                method.parent_service().full_name(),
                method.name(),
                stream(method.is_client_streaming()),
                method.input().full_name(),
                stream(method.is_server_streaming()),
                method.output().full_name()
            ));
        }
    }
    lines
}

#[test]
fn every_name_number_and_type_is_the_published_one() {
    let published: BTreeSet<String> =
        include_str!("published.txt").lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let ours = ours();
    let missing: Vec<_> = published.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&published).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nnot published: {extra:#?}");
    assert!(ours.len() > 500, "{} lines cannot be all", ours.len());
}
