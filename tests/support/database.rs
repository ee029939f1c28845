//! Databases for tests. Each test has its own database, cloned from a template database that `scripts/migrate` has migrated.
//!
//! The tests need a running PostgreSQL cluster. `REZNET_TEST_DATABASE_URL` has the cluster's address and
//! `REZNET_TEST_APP_DATABASE_URL` the component's address. `scripts/test` starts a cluster and sets both.
//! If `REZNET_TEST_BY_MONTH` is set, messages are partitioned by month, so that suites can run on that layout too.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use crate::project;

/// A database that belongs to one test. Dropping this value drops the database.
pub struct Database {
    server: Config,
    name: String,
}

impl Database {
    /// Creates a migrated database with the starting data.
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

    /// Creates an empty database.
    pub async fn empty() -> Self {
        Self::create("").await
    }

    /// Creates an empty database. `options` is SQL at the end of CREATE DATABASE, such as `ENCODING 'LATIN1' TEMPLATE template0`.
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

    /// Creates a migrated database, and lets `scripts/seed` insert one million messages, which is the size for tests of plans. Takes a minute.
    pub async fn seeded() -> Self {
        let database = Self::migrated().await;
        database.seed(1_000_000).await;
        database
    }

    /// Runs a command of `scripts/migrate` for the optional migration `name`.
    pub async fn optional(&self, command: &str, name: &str) {
        let mut migrate = Command::new(project().join("scripts/migrate"));
        migrate.args([command, name, "--database", &self.url()]);
        let done = tokio::task::spawn_blocking(move || run(&mut migrate)).await;
        let done = done.expect("the migration's thread ends");
        done.unwrap_or_else(|error| panic!("{command} {name}: {error}"));
    }

    /// Runs `scripts/seed` to create this many messages and the rows that belong to them.
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

    /// Opens a session for the test.
    pub async fn client(&self) -> Client {
        connect(self.server.clone().dbname(&self.name)).await
    }

    /// Returns the database's URL for the role that owns the tables.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.server, &self.name)
    }

    /// Returns the database's URL for the component. Its login role is a member of `reznet_app`; `scripts/postgres` creates the role.
    #[must_use]
    pub fn app_url(&self) -> String {
        url(&address("REZNET_TEST_APP_DATABASE_URL"), &self.name)
    }

    /// Returns the database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the server's `host:port`.
    #[must_use]
    pub fn host(&self) -> String {
        host(&self.server)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Runs psql, because `drop` can't wait for async code. If psql fails, the database exists until the cluster is deleted.
        let _ = psql(
            &url(&self.server, server_database(&self.server)),
            &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
        );
    }
}

/// A PostgreSQL cluster that belongs to one test. The test can stop and restart the cluster. Dropping the value stops the server and
/// deletes its data.
pub struct Cluster {
    folder: PathBuf,
    /// The arguments of `scripts/postgres start`.
    options: Vec<String>,
}

impl Cluster {
    /// Starts a new cluster without fsync. A crash may lose committed transactions.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&["--fast"])
    }

    /// Starts a new cluster that keeps all committed transactions if it crashes.
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(&[])
    }

    /// Starts a streaming replica of this cluster.
    #[must_use]
    pub fn replica(&self) -> Self {
        let primary = self.folder.to_string_lossy();
        Self::start_with(&["--fast", "--replica-of", &primary])
    }

    fn start_with(options: &[&str]) -> Self {
        let id = Uuid::new_v4();
        let folder = std::env::temp_dir().join(format!("reznet-test-{}", id.simple()));
        // Chooses a port below the ephemeral range, so that no outgoing connection takes the port while the server is down.
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

    /// Starts the cluster again after [`stop`](Self::stop) or [`crash`](Self::crash).
    pub fn resume(&self) {
        let options: Vec<_> = self.options.iter().map(String::as_str).collect();
        self.postgres("start", &options);
    }

    /// Kills all processes of the cluster, so that PostgreSQL must run crash recovery at the next start.
    pub fn crash(&self) {
        self.postgres("stop", &["--immediate"]);
    }

    /// Returns the cluster's `host:port`.
    #[must_use]
    pub fn host(&self) -> String {
        host(&self.url().parse().expect("the URL is valid"))
    }

    /// Returns the data directory. PostgreSQL starts only if no other user can access this directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("cluster/data")
    }

    /// Stops the cluster with `scripts/postgres stop`, which ends all sessions.
    pub fn stop(&self) {
        self.postgres("stop", &[]);
    }

    /// Opens a session for the test.
    pub async fn client(&self) -> Client {
        connect(&self.url().parse().expect("the URL is valid")).await
    }

    /// Opens a session as the superuser, who can connect only through the Unix socket.
    pub async fn superuser(&self) -> Client {
        let client = self.try_superuser().await;
        client.expect("the superuser can connect")
    }

    /// Like [`superuser`](Self::superuser), for a server that may be down.
    pub async fn try_superuser(&self) -> Result<Client, tokio_postgres::Error> {
        let server: Config = self.url().parse()?;
        // A socket's path has about 100 characters at most. If the path is too long, `cluster` is a symlink to a folder with a shorter path.
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

    /// Like [`client`](Self::client), for a server that may be down.
    pub async fn try_client(&self) -> Result<Client, tokio_postgres::Error> {
        try_connect(&self.url().parse()?).await
    }

    /// Returns the URL of the cluster's database for the role that owns the tables.
    #[must_use]
    pub fn url(&self) -> String {
        let output = self.postgres("url", &[]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Returns the URL of the cluster's database for the component's login role.
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
        // `scripts/postgres url` prints a password. `scripts/test` fails if a log contains a password, so this output isn't logged.
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

/// Returns the Spin variables with which the component connects to the database at `url`.
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
    // Each process has its own template, so that the template of a killed suite doesn't affect other suites.
    let name = format!("reznet_template_{}", std::process::id());
    let server_url = url(&server, server_database(&server));
    psql(&server_url, &format!("DROP DATABASE IF EXISTS {name}"))?;
    psql(&server_url, &format!("CREATE DATABASE {name}"))?;
    let url = url(&server, &name);
    migrate(&url)?;
    if std::env::var_os("REZNET_TEST_BY_MONTH").is_some() {
        // Inserts a message that is a year old, so that the migration creates a partition for each month since then.
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

/// Parses the database URL in an environment variable. `scripts/postgres url` prints the owner's URL, and with `--app` the component's.
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
    // Sets the session's search_path, because tests name tables without a schema, and the database's own setting may differ.
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
