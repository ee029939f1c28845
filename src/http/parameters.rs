//! The parameters of the path and the query as each handler gets them: a struct with a field for each parameter. The same declaration also
//! creates the table that `check` and openapi.json use, so a handler can't misspell a parameter.

use uuid::Uuid;

use super::check::Scalar;
use super::contract::{Cursor, epoch_us};
use super::problem::ApiError;
use crate::schema::performance::Window;
use crate::schema::{Filter, Parameter};

/// The checked parameters of a request, by name. If the request omits a parameter that has a default, the value is the default.
#[derive(Debug, Default)]
pub struct Values(Vec<(&'static str, Scalar)>);

impl Values {
    /// Adds a value, unless the parameter has one already.
    pub fn add(&mut self, name: &'static str, value: Scalar) {
        if !self.has(name) {
            self.0.push((name, value));
        }
    }

    /// Whether the parameter has a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.scalar(name).is_some()
    }

    /// Returns the value of a parameter; `None` if it has none.
    #[must_use]
    pub fn scalar(&self, name: &str) -> Option<&Scalar> {
        let value = self.0.iter().find(|(given, _)| *given == name);
        value.map(|(_, value)| value)
    }

    /// Returns the value of each filter; `None` if the request doesn't have the filter. A boolean filter that is true has an empty text.
    #[must_use]
    pub fn filters(&self, filters: &[Filter]) -> Vec<Option<String>> {
        let value = |filter: &Filter| match self.scalar(filter.parameter.name)? {
            Scalar::Text(text) => Some(text.clone()),
            Scalar::Boolean(is_true) => is_true.then(String::new),
            Scalar::Integer(_) => None,
        };
        filters.iter().map(value).collect()
    }

    /// Returns a parameter's value, converted to `T`, the type of its field in the handler's parameter struct.
    pub fn get<T: FromScalar>(&self, name: &str) -> Result<T, ApiError> {
        T::from_scalar(self.scalar(name)).ok_or(ApiError::Bug(
            "a parameter is missing, or its type differs from the handler's field",
        ))
    }
}

/// A struct of parameters, which [`parameters!`] declares.
pub trait Parameters: Sized {
    /// The parameters' descriptions.
    const TABLE: &'static [Parameter];

    /// Converts checked values.
    fn from_values(values: &Values) -> Result<Self, ApiError>;
}

/// No parameters.
impl Parameters for () {
    const TABLE: &'static [Parameter] = &[];

    fn from_values(_: &Values) -> Result<Self, ApiError> {
        Ok(())
    }
}

/// A type that a field of a parameter struct may have.
pub trait FromScalar: Sized {
    /// Converts a value; `None` if the value is missing or has another type.
    fn from_scalar(value: Option<&Scalar>) -> Option<Self>;
}

impl<T: FromScalar> FromScalar for Option<T> {
    fn from_scalar(value: Option<&Scalar>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(_) => T::from_scalar(value).map(Some),
        }
    }
}

impl FromScalar for bool {
    fn from_scalar(value: Option<&Scalar>) -> Option<Self> {
        match value? {
            Scalar::Boolean(value) => Some(*value),
            _ => None,
        }
    }
}

impl FromScalar for i64 {
    fn from_scalar(value: Option<&Scalar>) -> Option<Self> {
        match value? {
            Scalar::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

impl FromScalar for String {
    fn from_scalar(value: Option<&Scalar>) -> Option<Self> {
        text(value).map(str::to_owned)
    }
}

impl FromScalar for Uuid {
    fn from_scalar(value: Option<&Scalar>) -> Option<Self> {
        Self::try_parse(text(value)?).ok()
    }
}

impl FromScalar for Cursor {
    fn from_scalar(value: Option<&Scalar>) -> Option<Self> {
        Self::parse(text(value)?)
    }
}

/// A time, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct EpochUs(pub i64);

impl FromScalar for EpochUs {
    fn from_scalar(value: Option<&Scalar>) -> Option<Self> {
        epoch_us(text(value)?).map(Self)
    }
}

impl FromScalar for Window {
    fn from_scalar(value: Option<&Scalar>) -> Option<Self> {
        Self::named(text(value)?)
    }
}

fn text(value: Option<&Scalar>) -> Option<&str> {
    match value? {
        Scalar::Text(text) => Some(text),
        _ => None,
    }
}

/// Declares a struct of parameters. Each field has a type ([`FromScalar`]) and a description ([`Parameter`]). The field's name is the
/// parameter's name. `..list(filters, limit)` adds the filters of a list, and the parameters of its page with the default of `limit`; see
/// `page.rs`.
macro_rules! parameters {
    ($name:ident { $($field:ident: $type:ty = $parameter:expr,)* ..list($filters:path, $limit:literal) }) => {
        /// The parameters of a list; `TABLE` describes them.
        #[derive(Debug)]
        #[allow(missing_docs, reason = "the table describes the fields")]
        pub struct $name {
            $(pub $field: $type,)*
            filters: Vec<Option<String>>,
            page: (i64, i64, Option<$crate::http::contract::Cursor>),
        }

        impl $crate::http::parameters::Parameters for $name {
            const TABLE: &'static [$crate::schema::Parameter] = ::constcat::concat_slices!([$crate::schema::Parameter]:
                &[$($crate::schema::Parameter { name: stringify!($field), ..$parameter },)*] as &[$crate::schema::Parameter],
                &$filters.parameters::<{ $filters.filters.len() }>(),
                &$crate::http::page::parameters($limit),
            );

            fn from_values(
                values: &$crate::http::parameters::Values,
            ) -> Result<Self, $crate::http::problem::ApiError> {
                Ok(Self {
                    $($field: values.get(stringify!($field))?,)*
                    filters: values.filters($filters.filters),
                    page: (values.get("limit")?, values.get("offset")?, values.get("cursor")?),
                })
            }
        }

        impl $crate::http::page::Paged for $name {
            fn page(&self) -> (i64, i64, Option<$crate::http::contract::Cursor>) {
                self.page
            }

            fn filters(&self) -> &[Option<String>] {
                &self.filters
            }
        }
    };
    ($name:ident { $($field:ident: $type:ty = $parameter:expr,)+ }) => {
        /// The parameters of an operation; `TABLE` describes them.
        #[derive(Debug)]
        pub struct $name {
            $(#[allow(missing_docs, reason = "the table describes the fields")] pub $field: $type,)+
        }

        impl $crate::http::parameters::Parameters for $name {
            const TABLE: &'static [$crate::schema::Parameter] = &[$(
                $crate::schema::Parameter { name: stringify!($field), ..$parameter },
            )+];

            fn from_values(
                values: &$crate::http::parameters::Values,
            ) -> Result<Self, $crate::http::problem::ApiError> {
                Ok(Self { $($field: values.get(stringify!($field))?,)+ })
            }
        }
    };
}

pub(super) use parameters;
