//! Writes that a client may repeat: what's done under an Idempotency-Key is done once, and a repeat gets the first answer.
//! The work is done by a function of migration 0007, in one statement with the write itself.

use super::sql;
use crate::db::{Access, Db, Statement};

pub(super) static WRITE_ONCE: Statement = Statement {
    name: "write_once",
    sql: sql!["SELECT json, note FROM public.write_once($1::text, $2::text, $3::text, $4::text[])"],
    access: Access::Inserts(&["idempotency_keys_pkey"]),
    max_rows: 1,
};

/// Access by which every write is done once under this key.
#[must_use]
pub fn keyed(db: Db, key: String) -> Db {
    db.keyed(key, &WRITE_ONCE)
}
