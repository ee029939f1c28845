//! Converts values between PostgreSQL and the WIT types, type by type as Spin does, so that components behave the same on both hosts. A value
//! that can't be converted gives an error or, as `unsupported`, the raw bytes, but never a panic.

use anyhow::{Context as _, Result, anyhow};
use bytes::{BufMut as _, BytesMut};
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _, Utc};
use postgres_range::{BoundSided, BoundType, Normalizable, Range, RangeBound};
use rust_decimal::Decimal;
use serde::de::IgnoredAny;
use tokio_postgres::{
    Row as PgRow,
    types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked},
};
use uuid::Uuid;

use crate::bindings::spin::postgres::postgres::{
    Column, DbDataType, DbValue, Interval, ParameterValue, RangeBoundKind, Row,
};

type SqlError = Box<dyn std::error::Error + Sync + Send>;
pub type Parameter = Box<dyn ToSql + Send + Sync>;
type WitBound<T> = Option<(T, RangeBoundKind)>;
type WitRange<T> = (WitBound<T>, WitBound<T>);

/// Returns the names and types of a row's columns.
pub fn columns(row: &PgRow) -> Vec<Column> {
    let column = |column: &tokio_postgres::Column| Column {
        name: column.name().to_owned(),
        data_type: data_type(column.type_()),
    };
    row.columns().iter().map(column).collect()
}

fn data_type(ty: &Type) -> DbDataType {
    match *ty {
        Type::BOOL => DbDataType::Boolean,
        Type::BYTEA => DbDataType::Binary,
        Type::FLOAT4 => DbDataType::Floating32,
        Type::FLOAT8 => DbDataType::Floating64,
        Type::INT2 => DbDataType::Int16,
        Type::INT4 => DbDataType::Int32,
        Type::INT8 => DbDataType::Int64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => DbDataType::Str,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => DbDataType::Datetime,
        Type::DATE => DbDataType::Date,
        Type::TIME => DbDataType::Time,
        Type::UUID => DbDataType::Uuid,
        Type::JSONB => DbDataType::Jsonb,
        Type::NUMERIC => DbDataType::Decimal,
        Type::INTERVAL => DbDataType::Interval,
        Type::INT4_RANGE => DbDataType::RangeInt32,
        Type::INT8_RANGE => DbDataType::RangeInt64,
        Type::NUM_RANGE => DbDataType::RangeDecimal,
        Type::INT4_ARRAY => DbDataType::ArrayInt32,
        Type::INT8_ARRAY => DbDataType::ArrayInt64,
        Type::NUMERIC_ARRAY => DbDataType::ArrayDecimal,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => DbDataType::ArrayStr,
        _ => DbDataType::Other(ty.name().to_owned()),
    }
}

/// Returns a row's values.
pub fn row(row: &PgRow) -> Result<Row> {
    (0..row.len()).map(|index| value(row, index)).collect()
}

fn value(row: &PgRow, index: usize) -> Result<DbValue> {
    match *row.columns()[index].type_() {
        Type::BOOL => get(row, index, DbValue::Boolean),
        Type::BYTEA => get(row, index, DbValue::Binary),
        Type::FLOAT4 => get(row, index, DbValue::Floating32),
        Type::FLOAT8 => get(row, index, DbValue::Floating64),
        Type::INT2 => get(row, index, DbValue::Int16),
        Type::INT4 => get(row, index, DbValue::Int32),
        Type::INT8 => get(row, index, DbValue::Int64),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => get(row, index, DbValue::Str),
        // As in Spin, a timestamptz is read as a NaiveDateTime, which the driver refuses ("cannot convert"). So a component must cast a timestamptz
        // to another type in SQL.
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            get(row, index, |v| DbValue::Datetime(from_datetime(v)))
        }
        Type::DATE => get(row, index, |v| DbValue::Date(from_date(v))),
        Type::TIME => get(row, index, |v| DbValue::Time(from_time(v))),
        Type::UUID => get(row, index, |v: Uuid| DbValue::Uuid(v.to_string())),
        Type::JSONB => get(row, index, |v: PgJson| DbValue::Jsonb(v.0)),
        Type::NUMERIC => get(row, index, |v: Decimal| DbValue::Decimal(v.to_string())),
        Type::INTERVAL => get(row, index, |v: PgInterval| DbValue::Interval(v.0)),
        Type::INT4_RANGE => get(row, index, |v: Range<i32>| {
            DbValue::RangeInt32(from_range(&v, |b| *b))
        }),
        Type::INT8_RANGE => get(row, index, |v: Range<i64>| {
            DbValue::RangeInt64(from_range(&v, |b| *b))
        }),
        Type::NUM_RANGE => get(row, index, |v: Range<RangeDecimal>| {
            DbValue::RangeDecimal(from_range(&v, |b| b.0.to_string()))
        }),
        Type::INT4_ARRAY => get(row, index, DbValue::ArrayInt32),
        Type::INT8_ARRAY => get(row, index, DbValue::ArrayInt64),
        Type::NUMERIC_ARRAY => get(row, index, |v: Vec<Option<Decimal>>| {
            DbValue::ArrayDecimal(v.into_iter().map(|d| d.map(|d| d.to_string())).collect())
        }),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => {
            get(row, index, DbValue::ArrayStr)
        }
        // Types without a counterpart in the WIT are, for example, json, name, "char", oid, enums, and domains over such types.
        _ => get(row, index, |v: Raw| DbValue::Unsupported(v.0)),
    }
}

fn get<'a, T: FromSql<'a>>(
    row: &'a PgRow,
    index: usize,
    wrap: impl Fn(T) -> DbValue,
) -> Result<DbValue> {
    Ok(row
        .try_get::<_, Option<T>>(index)?
        .map_or(DbValue::DbNull, wrap))
}

/// Converts a statement's parameters. The driver checks each against the type that the server expects.
pub fn parameters(values: Vec<ParameterValue>) -> Result<Vec<Parameter>> {
    values.into_iter().map(parameter).collect()
}

fn parameter(value: ParameterValue) -> Result<Parameter> {
    Ok(match value {
        ParameterValue::Boolean(v) => Box::new(v),
        ParameterValue::Int8(v) => Box::new(v),
        ParameterValue::Int16(v) => Box::new(v),
        ParameterValue::Int32(v) => Box::new(v),
        ParameterValue::Int64(v) => Box::new(v),
        ParameterValue::Floating32(v) => Box::new(v),
        ParameterValue::Floating64(v) => Box::new(v),
        ParameterValue::Str(v) => Box::new(v),
        ParameterValue::Binary(v) => Box::new(v),
        ParameterValue::Date(v) => Box::new(to_date(v)?),
        ParameterValue::Time(v) => Box::new(to_time(v)?),
        ParameterValue::Datetime((year, month, day, hour, minute, second, nanosecond)) => Box::new(
            to_date((year, month, day))?.and_time(to_time((hour, minute, second, nanosecond))?),
        ),
        ParameterValue::Timestamp(v) => Box::new(
            DateTime::<Utc>::from_timestamp(v, 0)
                .ok_or_else(|| anyhow!("invalid epoch timestamp {v}"))?,
        ),
        ParameterValue::Uuid(v) => {
            Box::new(Uuid::parse_str(&v).with_context(|| format!("invalid UUID {v}"))?)
        }
        ParameterValue::Jsonb(v) => {
            serde_json::from_slice::<IgnoredAny>(&v)
                .with_context(|| format!("invalid JSON {}", String::from_utf8_lossy(&v)))?;
            Box::new(PgJson(v))
        }
        ParameterValue::Decimal(v) => Box::new(to_decimal(&v)?),
        ParameterValue::RangeInt32(v) => Box::new(to_range(v, Ok)?),
        ParameterValue::RangeInt64(v) => Box::new(to_range(v, Ok)?),
        ParameterValue::RangeDecimal(v) => {
            Box::new(to_range(v, |text| to_decimal(&text).map(RangeDecimal))?)
        }
        ParameterValue::ArrayInt32(v) => Box::new(v),
        ParameterValue::ArrayInt64(v) => Box::new(v),
        ParameterValue::ArrayDecimal(v) => {
            let decimals = v.iter().map(|d| d.as_deref().map(to_decimal).transpose());
            Box::new(decimals.collect::<Result<Vec<_>>>()?)
        }
        ParameterValue::ArrayStr(v) => Box::new(v),
        ParameterValue::Interval(v) => Box::new(PgInterval(v)),
        ParameterValue::DbNull => Box::new(Null),
    })
}

fn to_decimal(text: &str) -> Result<Decimal> {
    Decimal::from_str_exact(text).with_context(|| format!("invalid decimal {text}"))
}

fn to_date((year, month, day): (i32, u8, u8)) -> Result<NaiveDate> {
    NaiveDate::from_ymd_opt(year, month.into(), day.into())
        .ok_or_else(|| anyhow!("invalid date y={year}, m={month}, d={day}"))
}

fn to_time((hour, minute, second, nanosecond): (u8, u8, u8, u32)) -> Result<NaiveTime> {
    NaiveTime::from_hms_nano_opt(hour.into(), minute.into(), second.into(), nanosecond)
        .ok_or_else(|| anyhow!("invalid time {hour}:{minute}:{second}:{nanosecond}"))
}

/// Converts a month, day, hour, minute or second. All of them are below 256.
fn small(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn from_date(date: NaiveDate) -> (i32, u8, u8) {
    (date.year(), small(date.month()), small(date.day()))
}

fn from_time(time: NaiveTime) -> (u8, u8, u8, u32) {
    (
        small(time.hour()),
        small(time.minute()),
        small(time.second()),
        time.nanosecond(),
    )
}

fn from_datetime(value: NaiveDateTime) -> (i32, u8, u8, u8, u8, u8, u32) {
    let (year, month, day) = from_date(value.date());
    let (hour, minute, second, nanosecond) = from_time(value.time());
    (year, month, day, hour, minute, second, nanosecond)
}

fn from_range<T, U>(range: &Range<T>, convert: impl Fn(&T) -> U) -> WitRange<U>
where
    T: PartialOrd + Normalizable,
{
    let kind = |ty| match ty {
        BoundType::Inclusive => RangeBoundKind::Inclusive,
        BoundType::Exclusive => RangeBoundKind::Exclusive,
    };
    let lower = range
        .lower()
        .map(|bound| (convert(&bound.value), kind(bound.type_)));
    let upper = range
        .upper()
        .map(|bound| (convert(&bound.value), kind(bound.type_)));
    (lower, upper)
}

fn to_range<T, U>((lower, upper): WitRange<U>, convert: impl Fn(U) -> Result<T>) -> Result<Range<T>>
where
    T: PartialOrd + Normalizable,
{
    fn bound<S: BoundSided, T: PartialOrd, U>(
        bound: WitBound<U>,
        convert: impl Fn(U) -> Result<T>,
    ) -> Result<Option<RangeBound<S, T>>> {
        let Some((value, kind)) = bound else {
            return Ok(None);
        };
        let ty = match kind {
            RangeBoundKind::Inclusive => BoundType::Inclusive,
            RangeBoundKind::Exclusive => BoundType::Exclusive,
        };
        Ok(Some(RangeBound::new(convert(value)?, ty)))
    }
    Ok(Range::new(bound(lower, &convert)?, bound(upper, &convert)?))
}

/// A NULL for a parameter of any type. The driver's own NULL is limited to the type of its `Option`.
#[derive(Debug)]
struct Null;

impl ToSql for Null {
    fn to_sql(&self, _: &Type, _: &mut BytesMut) -> Result<IsNull, SqlError> {
        Ok(IsNull::Yes)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The bytes of a value whose type has no counterpart in the WIT.
struct Raw(Vec<u8>);

impl FromSql<'_> for Raw {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, SqlError> {
        Ok(Self(raw.to_owned()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The text of a JSON value. The text isn't parsed into a tree of values, because a tree would change long numbers.
#[derive(Debug)]
struct PgJson(Vec<u8>);

/// The only version of jsonb's binary format.
const JSONB_VERSION: u8 = 1;

impl ToSql for PgJson {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, SqlError> {
        if *ty == Type::JSONB {
            out.put_u8(JSONB_VERSION);
        }
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    accepts!(JSON, JSONB);
    to_sql_checked!();
}

impl FromSql<'_> for PgJson {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, SqlError> {
        match raw {
            [JSONB_VERSION, text @ ..] => Ok(Self(text.to_owned())),
            _ => Err("jsonb of an unknown version".into()),
        }
    }

    accepts!(JSONB);
}

#[derive(Debug)]
struct PgInterval(Interval);

impl ToSql for PgInterval {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, SqlError> {
        out.put_i64(self.0.micros);
        out.put_i32(self.0.days);
        out.put_i32(self.0.months);
        Ok(IsNull::No)
    }

    accepts!(INTERVAL);
    to_sql_checked!();
}

impl FromSql<'_> for PgInterval {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, SqlError> {
        let (micros, rest) = raw.split_first_chunk().ok_or("interval too short")?;
        let (days, rest) = rest.split_first_chunk().ok_or("interval too short")?;
        Ok(Self(Interval {
            micros: i64::from_be_bytes(*micros),
            days: i32::from_be_bytes(*days),
            months: i32::from_be_bytes(rest.try_into()?),
        }))
    }

    accepts!(INTERVAL);
}

/// A decimal as a range bound. Rust forbids implementing the range crate's trait for the decimal crate's type, so a wrapper type is needed.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct RangeDecimal(Decimal);

impl Normalizable for RangeDecimal {
    /// Leaves the bound unchanged, because decimals have no next value.
    fn normalize<S: BoundSided>(bound: RangeBound<S, Self>) -> RangeBound<S, Self> {
        bound
    }
}

impl ToSql for RangeDecimal {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, SqlError> {
        self.0.to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <Decimal as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl FromSql<'_> for RangeDecimal {
    fn from_sql(ty: &Type, raw: &[u8]) -> Result<Self, SqlError> {
        Decimal::from_sql(ty, raw).map(Self)
    }

    fn accepts(ty: &Type) -> bool {
        <Decimal as FromSql>::accepts(ty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: ParameterValue, ty: &Type) -> Result<Vec<u8>, String> {
        let mut out = BytesMut::new();
        let parameter = parameter(value).map_err(|e| e.to_string())?;
        parameter
            .to_sql_checked(ty, &mut out)
            .map_err(|e| e.to_string())?;
        Ok(out.to_vec())
    }

    #[test]
    fn null_can_be_encoded_as_any_type() {
        for ty in [Type::INT4, Type::UUID, Type::JSONB, Type::TEXT_ARRAY] {
            assert_eq!(encoded(ParameterValue::DbNull, &ty), Ok(vec![]));
        }
    }

    #[test]
    fn a_parameter_of_the_wrong_type_is_refused() {
        assert!(encoded(ParameterValue::Int32(1), &Type::INT8).is_err());
        assert!(encoded(ParameterValue::Str("x".into()), &Type::UUID).is_err());
        assert!(
            encoded(
                ParameterValue::Datetime((2000, 1, 1, 0, 0, 0, 0)),
                &Type::TIMESTAMPTZ
            )
            .is_err()
        );
        assert!(encoded(ParameterValue::Timestamp(0), &Type::TIMESTAMPTZ).is_ok());
    }

    #[test]
    fn json_text_is_preserved_exactly() {
        let text = br#"{"$serde_json::private::Number": "12", "n": 12345678901234567890.10}"#;
        let sent = encoded(ParameterValue::Jsonb(text.to_vec()), &Type::JSONB).unwrap();
        assert_eq!(sent, [&[1], &text[..]].concat());
        let read = PgJson::from_sql(&Type::JSONB, &sent).unwrap();
        assert_eq!(read.0, text);
        let sent = encoded(ParameterValue::Jsonb(text.to_vec()), &Type::JSON).unwrap();
        assert_eq!(sent, text);
        assert!(PgJson::from_sql(&Type::JSONB, b"\x02{}").is_err());
    }

    #[test]
    fn errors_for_invalid_values_show_the_value() {
        for (value, shown) in [
            (ParameterValue::Date((2024, 2, 30)), "y=2024, m=2, d=30"),
            (ParameterValue::Time((25, 0, 0, 0)), "25:0:0:0"),
            (ParameterValue::Timestamp(i64::MAX), "9223372036854775807"),
            (ParameterValue::Uuid("nope".into()), "invalid UUID nope"),
            (ParameterValue::Jsonb(b"{".to_vec()), "invalid JSON {"),
            (
                ParameterValue::Decimal("1e99x".into()),
                "invalid decimal 1e99x",
            ),
            (
                ParameterValue::ArrayDecimal(vec![Some("x".into())]),
                "invalid decimal x",
            ),
            (
                ParameterValue::RangeDecimal((Some(("x".into(), RangeBoundKind::Inclusive)), None)),
                "invalid decimal x",
            ),
        ] {
            let message = encoded(value, &Type::TEXT).unwrap_err();
            assert!(message.contains(shown), "{message}");
        }
    }

    #[test]
    fn intervals_and_ranges_round_trip() {
        let interval = Interval {
            micros: -1,
            days: 2,
            months: i32::MIN,
        };
        let bytes = encoded(ParameterValue::Interval(interval), &Type::INTERVAL).unwrap();
        let PgInterval(back) = PgInterval::from_sql(&Type::INTERVAL, &bytes).unwrap();
        assert_eq!((back.micros, back.days, back.months), (-1, 2, i32::MIN));
        assert!(PgInterval::from_sql(&Type::INTERVAL, &bytes[1..]).is_err());

        let range = (Some(("1.50".to_owned(), RangeBoundKind::Exclusive)), None);
        let bytes = encoded(
            ParameterValue::RangeDecimal(range.clone()),
            &Type::NUM_RANGE,
        )
        .unwrap();
        let back = Range::<RangeDecimal>::from_sql(&Type::NUM_RANGE, &bytes).unwrap();
        let back = from_range(&back, |b| b.0.to_string());
        assert_eq!(back.0.map(|(text, _)| text), range.0.map(|(text, _)| text));
        assert!(back.1.is_none());
    }

    #[test]
    fn dates_outside_the_supported_range_are_errors() {
        assert!(NaiveDateTime::from_sql(&Type::TIMESTAMP, &i64::MAX.to_be_bytes()).is_err());
        assert!(NaiveDate::from_sql(&Type::DATE, &i32::MAX.to_be_bytes()).is_err());
        let new_year = NaiveDateTime::from_sql(&Type::TIMESTAMP, &0i64.to_be_bytes()).unwrap();
        assert_eq!(from_datetime(new_year), (2000, 1, 1, 0, 0, 0, 0));
    }
}
