//! Serves the description of every operation (GET /api/openapi.json), and the page that shows the description (GET /api/docs). The page can be read
//! without a token, so it must not contain any part of the description.
//!
//! `tests/openapi` generates the description from the tables that check requests.

use axum::http::HeaderValue;

use super::contract::Operation;
use super::html;
use super::input::Input;
use super::problem::ApiError;
use super::reply::Reply;
use crate::db::Db;

pub static OPENAPI: Operation = Operation {
    id: "openapi",
    path: "/api/openapi.json",
    summary: "Returns this description of the API (OpenAPI 3.1).",
    query_count: 0,
    ..Operation::GET
};

pub async fn openapi(_: Db, _: Input) -> Result<Reply, ApiError> {
    Ok(Reply::ok(include_str!("../../openapi.json")))
}

pub static OPENAPI_PAGE: Operation = Operation {
    id: "openapi_page",
    path: "/api/docs",
    summary: "Returns an HTML page that shows this description; the page asks for a token if reading the description requires one.",
    ..html::OPERATION
};

const POLICY: HeaderValue = HeaderValue::from_static(include_str!("docs.csp").trim_ascii());

pub async fn openapi_page(_: Db, _: Input) -> Result<Reply, ApiError> {
    Ok(html::page(include_str!("docs.html"), POLICY))
}
