//! Types (P4Runtime §8, "Representation of Arbitrary P4 Types"): of keys and parameters, of what registers and digests hold, and
//! the list of those that have names.

use gantry_p4_proto::config::{
    P4BitTypeSpec, P4BitstringLikeTypeSpec, P4BoolType, P4DataTypeSpec, P4ErrorTypeSpec, P4NamedType, P4NewTypeSpec,
    P4NewTypeTranslation, P4SerializableEnumTypeSpec, P4StructTypeSpec, P4TypeInfo, p4_bitstring_like_type_spec,
    p4_data_type_spec, p4_new_type_spec, p4_new_type_translation, p4_serializable_enum_type_spec, p4_struct_type_spec,
};

use super::{annotation, hidden};
use crate::ir::{ExternKind, NewType, Notes, Program, Type};

/// Types that other parts of P4Info, or messages that follow it, mention by name; none if there are none.
pub(super) fn type_info(program: &Program) -> Option<P4TypeInfo> {
    let mut info = P4TypeInfo::default();
    for new_type in &program.new_types {
        info.new_types.insert(new_type.name.clone(), new_type_spec(new_type));
    }
    for each in program.enums.iter().filter(|each| each.serializable) {
        let members = each.members.iter().map(|(name, value)| p4_serializable_enum_type_spec::Member {
            name: name.clone(),
            value: bytes(*value),
            ..p4_serializable_enum_type_spec::Member::default()
        });
        let spec = P4SerializableEnumTypeSpec {
            underlying_type: Some(P4BitTypeSpec { bitwidth: each.bits.into() }),
            members: members.collect(),
            ..P4SerializableEnumTypeSpec::default()
        };
        info.serializable_enums.insert(each.name.clone(), spec);
    }
    for each in program.externs.iter().filter(|each| !hidden(&each.notes)) {
        if let ExternKind::Digest { fields, type_name } = &each.kind {
            let members = fields
                .iter()
                .map(|(name, ty)| p4_struct_type_spec::Member { name: name.clone(), type_spec: Some(data(*ty)) });
            let spec = P4StructTypeSpec { members: members.collect(), ..P4StructTypeSpec::default() };
            info.structs.insert(type_name.clone(), spec);
        }
    }
    if program.parser.is_some() {
        info.error = Some(P4ErrorTypeSpec { members: program.errors.clone() });
    }
    (info != P4TypeInfo::default()).then_some(info)
}

fn new_type_spec(new_type: &NewType) -> P4NewTypeSpec {
    let representation = match translation(new_type) {
        Some(translation) => p4_new_type_spec::Representation::TranslatedType(translation),
        None => p4_new_type_spec::Representation::OriginalType(data(new_type.ty)),
    };
    P4NewTypeSpec {
        representation: Some(representation),
        annotations: annotation::shown(&new_type.notes.annotations),
        ..P4NewTypeSpec::default()
    }
}

/// What `@p4runtime_translation(uri, type)` says; the type is `string`, `bit<W>` or, as it used to be, `W`.
fn translation(new_type: &NewType) -> Option<P4NewTypeTranslation> {
    let parts = annotation::parts(&new_type.notes.annotations, "p4runtime_translation")?;
    let [uri, controller_type] = parts[..] else { return None };
    let bits = controller_type.strip_prefix("bit<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(controller_type);
    let sdn_type = if controller_type == "string" {
        p4_new_type_translation::SdnType::SdnString(p4_new_type_translation::SdnString {})
    } else {
        p4_new_type_translation::SdnType::SdnBitwidth(bits.trim().parse().ok()?)
    };
    Some(P4NewTypeTranslation { uri: annotation::unquoted(uri)?, sdn_type: Some(sdn_type) })
}

/// Bits that controllers give: those of the translated type where there is one, none if that is a string.
pub(super) fn width(program: &Program, notes: &Notes, ty: Type) -> i32 {
    let new_type = program.new_types.iter().find(|each| each.name == notes.new_type);
    match new_type.and_then(translation).and_then(|translation| translation.sdn_type) {
        None => ty.bits().into(),
        Some(p4_new_type_translation::SdnType::SdnBitwidth(bits)) => bits,
        Some(p4_new_type_translation::SdnType::SdnString(_)) => 0,
    }
}

/// The new type of a key or parameter.
pub(super) fn named(notes: &Notes) -> Option<P4NamedType> {
    (!notes.new_type.is_empty()).then(|| P4NamedType { name: notes.new_type.clone() })
}

/// Bits or `bool`.
pub(super) fn data(ty: Type) -> P4DataTypeSpec {
    let spec = match ty {
        Type::Bool => p4_data_type_spec::TypeSpec::Bool(P4BoolType {}),
        Type::Bits(bits) => p4_data_type_spec::TypeSpec::Bitstring(P4BitstringLikeTypeSpec {
            type_spec: Some(p4_bitstring_like_type_spec::TypeSpec::Bit(P4BitTypeSpec { bitwidth: bits.into() })),
            ..P4BitstringLikeTypeSpec::default()
        }),
    };
    P4DataTypeSpec { type_spec: Some(spec) }
}

/// A struct, by its name.
pub(super) fn structure(name: &str) -> P4DataTypeSpec {
    P4DataTypeSpec { type_spec: Some(p4_data_type_spec::TypeSpec::Struct(P4NamedType { name: name.to_owned() })) }
}

/// The shortest string of bytes for a number (P4Runtime §8.3); zero is one byte.
pub(super) fn bytes(value: u128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    bytes[first..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        assert_eq!(bytes(0), [0]);
        assert_eq!(bytes(0x63), [0x63]);
        assert_eq!(bytes(0x3064), [0x30, 0x64]);
        assert_eq!(bytes(u128::MAX), [0xff; 16]);
    }
}
