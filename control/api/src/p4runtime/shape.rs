//! Values of registers and digests: their types, and numbers as data of such types (P4Runtime 1.5.0 §8.4).

use gantry_p4_proto::P4Info;
use gantry_p4_proto::config::{P4DataTypeSpec, p4_bitstring_like_type_spec, p4_data_type_spec};
use gantry_p4_proto::runtime::{P4Data, P4StructLike, p4_data::Data};

use super::bytestring::encode;
use super::pipeline::{Result, bad, bits};

/// How a register's or a digest's values are told (§8.4).
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Bits(u32),
    Bool,
    Struct(Vec<Shape>),
    Tuple(Vec<Shape>),
    /// A serializable enum: its underlying bits.
    Enum(u32),
}

impl Shape {
    /// How many numbers such a value is made of.
    pub(super) fn values(&self) -> usize {
        match self {
            Self::Struct(members) | Self::Tuple(members) => members.iter().map(Self::values).sum(),
            _ => 1,
        }
    }

    /// The shape of a type; types inside types may go eight deep.
    pub(super) fn new(info: &P4Info, spec: Option<&P4DataTypeSpec>, of: &str, depth: u32) -> Result<Self> {
        use p4_data_type_spec::TypeSpec;
        let unknown = || bad(format!("{of} has values of a type that is not served"));
        let Some(spec) = spec.and_then(|spec| spec.type_spec.as_ref()).filter(|_| depth < 8) else { return unknown() };
        let types = info.type_info.as_ref();
        Ok(match spec {
            TypeSpec::Bool(_) => Shape::Bool,
            TypeSpec::Bitstring(bitstring) => match &bitstring.type_spec {
                Some(p4_bitstring_like_type_spec::TypeSpec::Bit(bit)) => Shape::Bits(bits(of, bit.bitwidth)?),
                _ => return unknown(),
            },
            TypeSpec::SerializableEnum(named) => {
                let underlying = types.and_then(|types| types.serializable_enums.get(&named.name));
                match underlying.and_then(|spec| spec.underlying_type.as_ref()) {
                    Some(bit) => Shape::Enum(bits(of, bit.bitwidth)?),
                    None => return unknown(),
                }
            }
            TypeSpec::Struct(named) => match types.and_then(|types| types.structs.get(&named.name)) {
                Some(spec) => {
                    let members =
                        spec.members.iter().map(|member| Self::new(info, member.type_spec.as_ref(), of, depth + 1));
                    Shape::Struct(members.collect::<Result<_>>()?)
                }
                None => return unknown(),
            },
            TypeSpec::Tuple(tuple) => Shape::Tuple(
                tuple
                    .members
                    .iter()
                    .map(|member| Self::new(info, Some(member), of, depth + 1))
                    .collect::<Result<_>>()?,
            ),
            _ => return unknown(),
        })
    }

    /// Numbers as data of that shape; there are as many as the shape has.
    pub(super) fn data(&self, values: &mut dyn Iterator<Item = u128>) -> P4Data {
        let mut one = || values.next().unwrap_or_default();
        let data = match self {
            Self::Bits(_) => Data::Bitstring(encode(one())),
            Self::Enum(_) => Data::EnumValue(encode(one())),
            Self::Bool => Data::Bool(one() != 0),
            Self::Struct(members) => Data::Struct(structure(members, values)),
            Self::Tuple(members) => Data::Tuple(structure(members, values)),
        };
        P4Data { data: Some(data) }
    }
}

fn structure(members: &[Shape], values: &mut dyn Iterator<Item = u128>) -> P4StructLike {
    let members = members.iter().map(|member| member.data(values)).collect();
    P4StructLike { members }
}
