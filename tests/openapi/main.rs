//! Generates openapi.json from the component's tables of operations and schemas, and compares it with the file in the repository. After
//! changing an operation or a schema, run `UPDATE=1 cargo test -p reznet-tests --test openapi`, which rewrites the file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use reznet_edge::http::contract::{Audience, Cursor, Operation, Validation};
use reznet_edge::http::{names, routes};
use reznet_edge::schema::{FieldType, Presence, Schema};

const FILE: &str = "../openapi.json";

type Schemas = BTreeMap<&'static str, Value>;

/// Returns the complete document.
fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in routes::all() {
        let described = describe(operation, &mut schemas);
        let method = operation.method.to_lowercase();
        let doubled = paths
            .entry(operation.path)
            .or_default()
            .insert(method, described);
        assert!(doubled.is_none(), "{} {}", operation.method, operation.path);
    }
    schemas.insert("Problem", problem());
    schemas.extend(json_values());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "reznet-edge",
            "summary": "RezNet AI's backend API: agents that work together in channels and workflows.",
            "description": "Every response reports its database cost in X-Process-Time, X-Query-Count, \
                X-Query-Time and Server-Timing. Errors are problem documents (RFC 9457). Lists have a Link header \
                to their next page (RFC 8288). Reads have an ETag; if a request sends it in If-None-Match and nothing has \
                changed, the response is 304 without a body (RFC 9110). HEAD is supported wherever GET is, and OPTIONS \
                everywhere.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": headers(),
            "responses": responses(),
            "parameters": {"IfMatch": {
                "name": "If-Match",
                "in": "header",
                "description": "Entity tags, written as in the header ETag. The write is executed only if the row has one of them; otherwise the response \
                    is 412 with the row's current tag. `*` matches any tag; a weak tag never matches (RFC 9110, 13.1.1).",
                "schema": {"type": "string"},
            }, "IdempotencyKey": {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "A key that the client chooses for this write. If the request is repeated with the same key within a day, the \
                    write is not executed again, and the client gets the first result. The key is refused for a different request.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
            }},
            "securitySchemes": {
                "api": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "One of the tokens in the variable api_token. If the variable is empty, no token is required.",
                },
                "admin": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "One of the tokens in the variable admin_token. If the variable is empty, one of the tokens in api_token.",
                },
            },
        },
    })
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<_> = operation
        .parameters
        .iter()
        .map(|parameter| {
            let in_path = operation.in_path(parameter.name);
            let mut schema = json_schema(&parameter.field_type, schemas);
            if let Some(default) = parameter.default {
                schema["default"] =
                    json!(parameter.field_type.parse(default).expect("a default fits"));
            }
            json!({
                "name": parameter.name,
                "in": if in_path { "path" } else { "query" },
                "required": in_path,
                "description": parameter.about,
                "schema": schema,
            })
        })
        .collect();
    if operation.method != "GET" {
        parameters.push(json!({"$ref": "#/components/parameters/IdempotencyKey"}));
    }
    if operation.errors.contains(&412) {
        parameters.push(json!({"$ref": "#/components/parameters/IfMatch"}));
    }
    let mut responses = Map::new();
    responses.insert(operation.status.to_string(), success(operation, schemas));
    if operation.method == "GET" {
        let headers = with_etag(profiling());
        let description = "Not modified, because If-None-Match has the current ETag.";
        let unchanged = json!({"description": description, "headers": headers});
        responses.insert("304".to_owned(), unchanged);
    }
    let with_body = operation.body.map_or(&[][..], |_| &[400, 408, 413, 415]);
    let with_database = if operation.query_count > 0 {
        &[503, 504][..]
    } else {
        &[]
    };
    let with_token = if operation.audience == Audience::Everyone {
        &[][..]
    } else {
        &[401, 403]
    };
    for status in operation
        .errors
        .iter()
        .chain(with_body)
        .chain(with_database)
        .chain(with_token)
        .chain(&[422, 500])
    {
        let response = match status {
            204 => json!({"description": "There is no matching row.", "headers": profiling()}),
            _ => json!({"$ref": format!("#/components/responses/{status}")}),
        };
        responses.insert(status.to_string(), response);
    }
    let path = operation
        .path
        .strip_prefix("/api")
        .unwrap_or(operation.path);
    let tag = path.split('/').nth(1).unwrap_or_default();
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [tag.trim_end_matches(".json")],
        "parameters": parameters,
        "responses": responses,
    });
    described["security"] = match operation.audience {
        Audience::Everyone => json!([]),
        Audience::Clients => json!([{"api": []}, {"admin": []}]),
        Audience::Administrators => json!([{"admin": []}]),
    };
    if let Some(body) = operation.body {
        described["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": reference(body, schemas)}},
        });
    }
    described
}

fn success(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut headers = profiling();
    if operation
        .parameters
        .iter()
        .any(|parameter| parameter.name == "cursor")
    {
        headers["Link"] = json!({"$ref": "#/components/headers/Link"});
    }
    if operation.method == "GET" || operation.answers_a_row() {
        headers = with_etag(headers);
    }
    if operation.method != "GET" {
        headers["X-Written"] = json!({"$ref": "#/components/headers/X-Written"});
    }
    if operation.status == 201 {
        headers["Location"] = json!({"$ref": "#/components/headers/Location"});
    }
    json!({
        "description": operation.summary,
        "headers": headers,
        "content": {operation.media_type: {"schema": json_schema(&operation.answer, schemas)}},
    })
}

fn with_etag(mut headers: Value) -> Value {
    headers["ETag"] = json!({"$ref": "#/components/headers/ETag"});
    headers
}

/// Returns a type as JSON Schema.
fn json_schema(field_type: &FieldType, schemas: &mut Schemas) -> Value {
    match field_type {
        FieldType::Uuid | FieldType::Reference(_) | FieldType::AgentWhere { .. } => {
            json!({"type": "string", "format": "uuid"})
        }
        FieldType::EarlierPosition => json!({"type": "integer", "minimum": 0, "maximum": 98}),
        FieldType::Boolean => json!({"type": "boolean"}),
        FieldType::Integer { min, max } => {
            json!({"type": "integer", "minimum": min, "maximum": max})
        }
        FieldType::Text { min, max } => {
            json!({"type": "string", "minLength": min, "maxLength": max, "pattern": "^[^\\u0000]*$"})
        }
        FieldType::Name { max } => {
            json!({"type": "string", "minLength": 1, "maxLength": max, "pattern": names::regex()})
        }
        FieldType::Pattern { regex, .. } => json!({"type": "string", "pattern": regex.text}),
        FieldType::Cursor => json!({"type": "string", "pattern": Cursor::REGEX}),
        FieldType::OneOf(words) => json!({"type": "string", "enum": words}),
        FieldType::Time => json!({"type": "string", "format": "date-time"}),
        FieldType::Object => json!({"$ref": "#/components/schemas/JsonObject"}),
        FieldType::Record(schema) => reference(schema, schemas),
        FieldType::List { of, max } => {
            json!({"type": "array", "maxItems": max, "items": json_schema(of, schemas)})
        }
    }
}

fn reference(schema: &'static Schema, schemas: &mut Schemas) -> Value {
    if !schemas.contains_key(schema.name) {
        schemas.insert(schema.name, Value::Null);
        let properties: Map<_, _> = schema
            .members
            .iter()
            .map(|member| {
                let mut value = json_schema(&member.field_type, schemas);
                if matches!(
                    member.presence,
                    Presence::Nullable | Presence::OptionalNullable
                ) {
                    value = json!({"anyOf": [value, {"type": "null"}]});
                }
                // OpenAPI 3.1 allows a description beside a $ref.
                value["description"] = member.about.into();
                (member.name.to_owned(), value)
            })
            .collect();
        let required: Vec<_> = schema
            .members
            .iter()
            .filter(|member| matches!(member.presence, Presence::Required | Presence::Nullable))
            .map(|member| member.name)
            .collect();
        let example: Value = serde_json::from_str(schema.example).expect(schema.name);
        let described = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
            "examples": [example],
        });
        schemas.insert(schema.name, described);
    }
    json!({"$ref": format!("#/components/schemas/{}", schema.name)})
}

/// Returns the schemas of a free-form JSON value and object. They forbid NUL characters, because PostgreSQL can't store them.
fn json_values() -> [(&'static str, Value); 2] {
    let text = json!({"type": "string", "pattern": "^[^\\u0000]*$"});
    let value = json!({"$ref": "#/components/schemas/JsonValue"});
    let object = json!({"type": "object", "propertyNames": text, "additionalProperties": value});
    let values = json!({"anyOf": [
        {"type": ["null", "boolean", "number"]},
        text,
        {"type": "array", "items": value},
        {"$ref": "#/components/schemas/JsonObject"},
    ]});
    [("JsonObject", object), ("JsonValue", values)]
}

fn problem() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {
            "type": text, "title": text, "detail": text, "instance": text, "request_id": text,
            "status": {"type": "integer"},
            "errors": {"type": "array", "items": {
                "type": "object",
                "properties": {"parameter": text, "pointer": text, "detail": text},
                "required": ["detail"],
            }},
            "missing_migrations": {"type": "array", "items": text},
            "missing_indexes": {"type": "array", "items": text},
            "problems": {"type": "array", "items": {
                "type": "object",
                "properties": {"kind": text, "object": text, "detail": text},
                "required": ["kind", "object", "detail"],
            }},
        },
        "required": ["type", "title", "status", "detail", "instance", "request_id"],
        "additionalProperties": false,
        "examples": [{
            "type": "about:blank", "title": "Not Found", "status": 404,
            "detail": "There is no agent with the name @nobody.", "instance": "/api/agents/name/nobody",
            "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        }],
    })
}

fn headers() -> Value {
    let header = |description: &str, pattern: &str| json!({"description": description, "required": true, "schema": {"type": "string", "pattern": pattern}});
    let optional =
        |description: &str| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "X-Process-Time": header("Time from the handler's first line to the response, in milliseconds.", r"^\d+\.\d{2}ms$"),
        "X-Query-Count": header("Number of statements sent, including failed ones.", r"^\d+$"),
        "X-Query-Time": header("Total duration of the statements in milliseconds; each is timed until its last row has arrived.", r"^\d+\.\d{2}ms$"),
        "Server-Timing": header("The same values for browsers' developer tools; conn is the wait for a connection.", "^total;dur="),
        "X-Request-Id": header("The request's id in the log.", "^[A-Za-z0-9._:+/=@-]{1,128}$"),
        "ETag": header("Entity tag of the response, weak for a list. A read that sends it in If-None-Match gets 304 without a body if nothing \
            has changed. A write that sends it in If-Match is executed only if the row has not changed.", "^(W/)?\"[0-9a-f]{16}\"$"),
        "Link": optional("Link to the next page, with rel=\"next\"."),
        "Location": optional("Path of the new row."),
        "X-Written": optional("Read-your-writes token, if a replica or a cache is configured. Reads that send it back include this write. Browsers get the token as a cookie."),
        "Retry-After": optional("Number of seconds to wait before repeating the request."),
    })
}

fn profiling() -> Value {
    [
        "X-Process-Time",
        "X-Query-Count",
        "X-Query-Time",
        "Server-Timing",
        "X-Request-Id",
    ]
    .into_iter()
    .map(|name| {
        (
            name.to_owned(),
            json!({"$ref": format!("#/components/headers/{name}")}),
        )
    })
    .collect::<Map<_, _>>()
    .into()
}

fn responses() -> Value {
    [
        (400, "The body is not valid JSON."),
        (401, "The token is missing or not accepted for this operation."),
        (403, "The request is a write from a page of another origin, or its host is not a name of this server."),
        (404, "There is no such row."),
        (408, "The body did not arrive within 10 s."),
        (409, "The row's state, or another row, does not allow the write."),
        (
            412,
            "No tag in If-Match is the row's current tag. ETag has the current tag.",
        ),
        (413, "The body is longer than 1 MiB."),
        (415, "The body is not sent as application/json in UTF-8, or has a Content-Encoding."),
        (
            422,
            "Parameters, headers or members of the body are invalid; `errors` lists them, up to 50.",
        ),
        (500, "An internal error, or an invalid configuration; the log has the details under request_id."),
        (
            503,
            "The database cannot be reached, no connection is free, or the database lacks migrations or privileges.",
        ),
        (504, "The database took too long to answer."),
    ]
    .into_iter()
    .map(|(status, description)| {
        let mut headers = profiling();
        if status == 401 {
            headers["WWW-Authenticate"] = json!({"schema": {"type": "string"}});
        }
        if status == 412 {
            headers = with_etag(headers);
        }
        if status == 503 {
            headers["Retry-After"] = json!({"$ref": "#/components/headers/Retry-After"});
        }
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        let response = json!({
            "description": description,
            "headers": headers,
            "content": {"application/problem+json": {"schema": schema}},
        });
        (status.to_string(), response)
    })
    .collect::<Map<_, _>>()
    .into()
}

#[test]
fn openapi_json_matches_the_code() {
    let pretty = serde_json::to_string_pretty(&document()).expect("the document is JSON");
    // The component contains this file. With the default indentation, a third of the file would be spaces, so each level is indented by one
    // space.
    let narrow = |line: &str| {
        let text = line.trim_start();
        " ".repeat((line.len() - text.len()) / 2) + text + "\n"
    };
    let expected: String = pretty.lines().map(narrow).collect();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FILE, &expected).expect("openapi.json can be written");
    }
    let found = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        found == expected,
        "openapi.json is out of date: run UPDATE=1 cargo test -p reznet-tests --test openapi"
    );
}

#[test]
fn examples_fit_their_schemas() {
    let mut count = 0;
    for operation in routes::all() {
        let answers = match operation.answer {
            FieldType::Record(schema) => Some(schema),
            FieldType::List {
                of: FieldType::Record(schema),
                ..
            } => Some(*schema),
            _ => None,
        };
        for schema in operation.body.into_iter().chain(answers) {
            let (mut validation, mut out) = (Validation::default(), String::new());
            let example = schema.example;
            FieldType::Record(schema).check(example, &mut Vec::new(), &mut validation, &mut out);
            assert_eq!(validation.errors, [], "{}", schema.name);
            count += 1;
        }
    }
    assert!(count > 30, "only {count} examples");
}

#[test]
fn path_parameters_are_declared() {
    for operation in routes::all() {
        let in_path = operation.path.matches('{').count();
        let declared = operation
            .parameters
            .iter()
            .filter(|p| operation.in_path(p.name))
            .count();
        assert_eq!(in_path, declared, "{}", operation.id);
    }
}
