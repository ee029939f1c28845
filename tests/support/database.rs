//! Databases for tests: each its own, cloned from one that `scripts/migrate` has migrated.
//!
//! Needs a cluster, whose addresses it takes from `REZNET_TEST_DATABASE_URL` and, for the component,
//! `REZNET_TEST_APP_DATABASE_URL` (`scripts/test` starts one). With
//! `REZNET_TEST_BY_MONTH` they have their messages in partitions by month, so that a suite can be run on that layout too.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use crate::project;

/// A database of one test, dropped with it.
pub struct Database {
    server: Config,
    name: String,
}

impl Database {
    /// Migrated, with the starting data.
    pub async fn migrated() -> Self {
        static TEMPLATE: OnceLock<Result<String, String>> = OnceLock::new();
        let template = tokio::task::spawn_blocking(|| TEMPLATE.get_or_init(migrated_template))
            .await
            .expect("the template's thread ends");
        match template {
            Ok(template) => Self::create(&format!(" TEMPLATE {template}")).await,
            Err(error) => panic!("no migrated template: {error}"),
        }
    }

    /// As PostgreSQL makes it: nothing in it.
    pub async fn empty() -> Self {
        Self::create("").await
    }

    /// Creates an empty database with these options of CREATE DATABASE, such as `ENCODING 'LATIN1' TEMPLATE template0`.
    pub async fn empty_with(options: &str) -> Self {
        Self::create(&format!(" {options}")).await
    }

    /// Runs a command of `scripts/migrate`, such as `grant`.
    pub async fn migrate(&self, command: &str) {
        let mut migrate = Command::new(project().join("scripts/migrate"));
        migrate.args([command, "--database", &self.url()]);
        let done = tokio::task::spawn_blocking(move || run(&mut migrate)).await;
        let done = done.expect("the thread of scripts/migrate ends");
        done.unwrap_or_else(|error| panic!("{command}: {error}"));
    }

    /// Migrated, and filled by `scripts/seed` to the size that plans are tested at. Takes a minute.
    pub async fn seeded() -> Self {
        let database = Self::migrated().await;
        database.seed(1_000_000).await;
        database
    }

    /// Applies an optional migration (`scripts/migrate optional`), or its way back.
    pub async fn optional(&self, command: &str, name: &str) {
        let mut migrate = Command::new(project().join("scripts/migrate"));
        migrate.args([command, name, "--database", &self.url()]);
        let done = tokio::task::spawn_blocking(move || run(&mut migrate)).await;
        let done = done.expect("the migration's thread ends");
        done.unwrap_or_else(|error| panic!("{command} {name}: {error}"));
    }

    /// Fills it by `scripts/seed`: so many messages, and what belongs to them.
    pub async fn seed(&self, messages: u32) {
        let mut seed = Command::new(project().join("scripts/seed"));
        let tenth = (messages / 10).to_string();
        let half = (messages / 2).to_string();
        seed.args([
            "--database",
            &self.url(),
            "--messages",
            &messages.to_string(),
        ])
        .args(["--workflows", &tenth, "--workflow-tasks", &half]);
        let seeded = tokio::task::spawn_blocking(move || run(&mut seed))
            .await
            .expect("the seeding thread ends");
        seeded.expect("the database can be seeded");
    }

    async fn create(template: &str) -> Self {
        let server = server();
        let name = format!("reznet_test_{}", Uuid::new_v4().simple());
        let client = connect(&server).await;
        client
            .batch_execute(&format!("CREATE DATABASE {name}{template}"))
            .await
            .expect("the test role may create databases");
        Self { server, name }
    }

    /// A session of the test's own.
    pub async fn client(&self) -> Client {
        connect(self.server.clone().dbname(&self.name)).await
    }

    /// Its address, for its owner.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.server, &self.name)
    }

    /// Its address, for the component: a login that's a member of `reznet_app` (`scripts/postgres`).
    #[must_use]
    pub fn app_url(&self) -> String {
        url(&address("REZNET_TEST_APP_DATABASE_URL"), &self.name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server's `host:port`.
    #[must_use]
    pub fn host(&self) -> String {
        host(&self.server)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // From a plain process: there's no runtime left to wait on here. What fails is left to the cluster's end.
        let _ = psql(
            &url(&self.server, server_database(&self.server)),
            &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
        );
    }
}

/// A cluster of one test, to be stopped and started; its data goes with it.
pub struct Cluster {
    folder: PathBuf,
    /// How `scripts/postgres start` is called.
    options: Vec<String>,
}

impl Cluster {
    /// A new cluster, running. What it has committed may be lost when it crashes.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&["--fast"])
    }

    /// A new cluster, running, that loses nothing that it has committed.
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(&[])
    }

    /// A replica of this cluster, running, by streaming replication.
    #[must_use]
    pub fn replica(&self) -> Self {
        let primary = self.folder.to_string_lossy();
        Self::start_with(&["--fast", "--replica-of", &primary])
    }

    fn start_with(options: &[&str]) -> Self {
        let id = Uuid::new_v4();
        let folder = std::env::temp_dir().join(format!("reznet-test-{}", id.simple()));
        // Below those that the system gives away, or another's connection may have it while the server is down.
        let port = 20_000 + id.as_u128() % 8_000;
        let options = options.iter().map(ToString::to_string);
        let options = options.chain(["--port".to_owned(), port.to_string()]);
        let cluster = Self {
            folder,
            options: options.collect(),
        };
        cluster.resume();
        cluster
    }

    /// Starts it again after [`stop`](Self::stop) or [`crash`](Self::crash).
    pub fn resume(&self) {
        let options: Vec<_> = self.options.iter().map(String::as_str).collect();
        self.postgres("start", &options);
    }

    /// Ends all its processes where they are, so that it must recover when it's started again.
    pub fn crash(&self) {
        self.postgres("stop", &["--immediate"]);
    }

    /// Its `host:port`.
    #[must_use]
    pub fn host(&self) -> String {
        host(&self.url().parse().expect("it's an address"))
    }

    /// The folder of its data; only the server's user may be allowed in.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("cluster/data")
    }

    /// Stops it as an operator would; sessions are ended.
    pub fn stop(&self) {
        self.postgres("stop", &[]);
    }

    /// A session of the test's own.
    pub async fn client(&self) -> Client {
        connect(&self.url().parse().expect("it's an address")).await
    }

    /// A session of the superuser's, who comes in by the unix socket only.
    pub async fn superuser(&self) -> Client {
        let client = self.try_superuser().await;
        client.expect("the superuser may come in")
    }

    /// As [`superuser`](Self::superuser), of a server that may be away.
    pub async fn try_superuser(&self) -> Result<Client, tokio_postgres::Error> {
        let server: Config = self.url().parse()?;
        // Where `cluster` is a symlink, it leads to a path that's short enough for a socket.
        let home = self.folder.join("cluster");
        let home = home.canonicalize().unwrap_or(home);
        let mut local = Config::new();
        local
            .host_path(home.join("socket"))
            .user("postgres")
            .dbname(server_database(&server));
        if let Some(port) = server.get_ports().first() {
            local.port(*port);
        }
        try_connect(&local).await
    }

    /// As [`client`](Self::client), of a server that may be away.
    pub async fn try_client(&self) -> Result<Client, tokio_postgres::Error> {
        try_connect(&self.url().parse()?).await
    }

    /// The address of its database, for its owner.
    #[must_use]
    pub fn url(&self) -> String {
        let output = self.postgres("url", &[]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The address of its database, for the component.
    #[must_use]
    pub fn app_url(&self) -> String {
        let output = self.postgres("url", &["--app"]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn postgres(&self, command: &str, options: &[&str]) -> Output {
        let output = Command::new(project().join("scripts/postgres"))
            .arg(command)
            .arg("--dir")
            .arg(&self.folder)
            .args(options)
            .output()
            .expect("scripts/postgres runs");
        assert!(
            output.status.success(),
            "scripts/postgres {command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // The only command that prints a password, because programs need it.
        if command != "url" {
            crate::keep_output(&output);
        }
        output
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new(project().join("scripts/postgres"))
            .args(["stop", "--immediate", "--dir"])
            .arg(&self.folder)
            .output();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The variables that point the component to a database.
#[must_use]
pub fn database_variables(url: &str) -> [(&str, &str); 2] {
    let host = url
        .rsplit_once('@')
        .and_then(|(_, rest)| rest.split_once('/'));
    let (host, _) = host.expect("user@host:port/database");
    [("db_url", url), ("db_host", host)]
}

/// Runs `scripts/migrate` on a database.
pub fn migrate(url: &str) -> Result<(), String> {
    run(Command::new(project().join("scripts/migrate")).args(["--database", url]))
}

fn migrated_template() -> Result<String, String> {
    let server = server();
    // One for each process: a suite that was killed leaves nothing that another would trip over.
    let name = format!("reznet_template_{}", std::process::id());
    let server_url = url(&server, server_database(&server));
    psql(&server_url, &format!("DROP DATABASE IF EXISTS {name}"))?;
    psql(&server_url, &format!("CREATE DATABASE {name}"))?;
    let url = url(&server, &name);
    migrate(&url)?;
    if std::env::var_os("REZNET_TEST_BY_MONTH").is_some() {
        // From a year ago on, so that there are many.
        let old = "INSERT INTO messages (channel_id, author_type, author_name, content, created_at)
            SELECT id, 'user', 'u', 'x', now() - interval '1 year' FROM channels LIMIT 1";
        psql(&url, old)?;
        let option = ["optional", "messages_by_month", "--database", &url];
        run(Command::new(project().join("scripts/migrate")).args(option))?;
        psql(&url, "CALL messages_mirror_drop()")?;
        psql(&url, "DELETE FROM messages")?;
    }
    Ok(name)
}

fn server() -> Config {
    address("REZNET_TEST_DATABASE_URL")
}

/// Returns the address in an environment variable. `scripts/postgres url` prints it, and with `--app` the component's address.
fn address(variable: &str) -> Config {
    let text = std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run the suites with scripts/test"));
    text.parse()
        .unwrap_or_else(|_| panic!("{variable} is no address"))
}

fn server_database(server: &Config) -> &str {
    server.get_dbname().unwrap_or("postgres")
}

async fn connect(config: &Config) -> Client {
    let client = try_connect(config).await;
    client.expect("the test server answers")
}

async fn try_connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    // Tests name tables without a schema, so they need this search_path, regardless of the server's.
    client
        .batch_execute("SET search_path = public, pg_temp")
        .await?;
    Ok(client)
}

fn host(server: &Config) -> String {
    use tokio_postgres::config::Host;
    let Some(Host::Tcp(host)) = server.get_hosts().first() else {
        panic!("REZNET_TEST_DATABASE_URL names no host");
    };
    let port = server.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}")
}

fn url(server: &Config, database: &str) -> String {
    let user = server.get_user().unwrap_or_default();
    let password = String::from_utf8_lossy(server.get_password().unwrap_or_default());
    format!("postgres://{user}:{password}@{}/{database}", host(server))
}

fn psql(url: &str, sql: &str) -> Result<(), String> {
    run(Command::new("psql")
        .env("PGOPTIONS", "-c search_path=public")
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", url, "-c", sql]))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", Path::new(command.get_program()).display()))?;
    crate::keep_output(&output);
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
