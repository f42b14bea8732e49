//! Values of a scenario file: numbers, times and shares, each written out or named as a parameter (`"$n"`).

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A value as it stands in the file, before it is known what it is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Anything in quotes.
    Text(String),
}

impl Scalar {
    /// The value that a word on the command line means: what TOML would take it for, or else text.
    pub fn from_word(word: &str) -> Self {
        if let Ok(int) = word.parse() {
            return Self::Int(int);
        }
        match (word, word.parse::<f64>()) {
            ("true", _) => Self::Bool(true),
            ("false", _) => Self::Bool(false),
            (_, Ok(float)) if float.is_finite() => Self::Float(float),
            _ => Self::Text(word.trim_matches('"').to_owned()),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text, or true or false")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Int(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
                i64::try_from(value).map(Scalar::Int).map_err(|_| E::custom("the number is too large"))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
                if value.is_finite() {
                    Ok(Scalar::Float(value))
                } else {
                    Err(E::custom("the number must be finite"))
                }
            }
            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The parameters of one run, by name.
pub type Parameters = BTreeMap<String, Scalar>;

/// What a [`Scalar`] can be read as.
pub trait FromScalar: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// What would be right instead.
    fn from_scalar(scalar: &Scalar) -> Result<Self, String>;
}

/// A value, or the name of the parameter that has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Val<T> {
    /// Written out.
    Fixed(T),
    /// `"$name"`.
    Parameter(String),
}

impl<T: FromScalar + Clone> Val<T> {
    /// The value in a run with these parameters.
    ///
    /// # Errors
    /// The parameter does not exist, or cannot be such a value.
    pub fn get(&self, parameters: &Parameters) -> Result<T, String> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Parameter(name) => {
                let value = parameters.get(name).ok_or_else(|| unknown_parameter(name, parameters))?;
                T::from_scalar(value).map_err(|error| format!("${name}: {error}"))
            }
        }
    }
}

fn unknown_parameter(name: &str, parameters: &Parameters) -> String {
    let known: Vec<_> = parameters.keys().map(|name| format!("${name}")).collect();
    if known.is_empty() {
        return format!("${name} is no parameter: define it under [parameters] or [sweep]");
    }
    format!("${name} is no parameter: there are {}", known.join(", "))
}

impl<'de, T: FromScalar> Deserialize<'de> for Val<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) if text.starts_with('$') => Ok(Self::Parameter(text[1..].to_owned())),
            scalar => T::from_scalar(&scalar).map(Self::Fixed).map_err(de::Error::custom),
        }
    }
}

impl FromScalar for Scalar {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        Ok(scalar.clone())
    }
}

impl FromScalar for Duration {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        let wrong = || format!("a time is a text like \"16384ms\", \"20s\" or \"1m30s\", not {scalar}");
        match scalar {
            Scalar::Text(text) => gossip_proto::parse_duration(text).map_err(|_| wrong()),
            Scalar::Int(0) => Ok(Self::ZERO),
            _ => Err(wrong()),
        }
    }
}

impl FromScalar for usize {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Int(value) => Self::try_from(*value).ok(),
            _ => None,
        }
        .ok_or_else(|| format!("a whole number, zero or more, is wanted, not {scalar}"))
    }
}

impl FromScalar for u32 {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        usize::from_scalar(scalar)?.try_into().map_err(|_| format!("{scalar} is too large"))
    }
}

impl FromScalar for i32 {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Int(value) => Self::try_from(*value).ok(),
            _ => None,
        }
        .ok_or_else(|| format!("a whole number is wanted, not {scalar}"))
    }
}

impl FromScalar for bool {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Bool(value) => Ok(*value),
            _ => Err(format!("true or false is wanted, not {scalar}")),
        }
    }
}

impl FromScalar for f64 {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Int(value) => Ok(*value as Self),
            Scalar::Float(value) => Ok(*value),
            _ => Err(format!("a number is wanted, not {scalar}")),
        }
    }
}

impl FromScalar for String {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) => Ok(text.clone()),
            _ => Err(format!("a text is wanted, not {scalar}")),
        }
    }
}

/// A share of something, from 0 to 1; may be written as `"10%"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl FromScalar for Share {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        let value = match scalar {
            Scalar::Int(value) => Some(*value as f64),
            Scalar::Float(value) => Some(*value),
            Scalar::Text(text) => text
                .strip_suffix('%')
                .and_then(|text| text.trim().parse::<f64>().ok())
                .map(|value| value / 100.0),
            Scalar::Bool(_) => None,
        };
        let value = value.filter(|value| (0.0..=1.0).contains(value));
        value
            .map(Self)
            .ok_or_else(|| format!("a share is a number from 0 to 1, or \"0%\" to \"100%\", not {scalar}"))
    }
}
