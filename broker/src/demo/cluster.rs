//! A throw-away PostgreSQL: its own data directory, a free port, TLS and SCRAM, stopped and deleted when dropped.
//!
//! A server refuses to run as root, so root hands it to an unprivileged account.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::certs::ServerCertificate;
use crate::base::secret::random_base62;

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";
/// How long a server may take to answer.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub struct Cluster {
    home: TempDir,
    server: Child,
    port: u16,
    password: String,
    binaries: PathBuf,
}

impl Cluster {
    /// Makes a cluster, with TLS when a certificate is given, and starts it with further `settings`.
    pub fn start(certificate: Option<&ServerCertificate>, settings: &[(&str, &str)]) -> Result<Self> {
        let binaries = binaries()?;
        let account = Account::find()?;
        let home = tempfile::Builder::new()
            .prefix("hoop-pg-")
            .tempdir()
            .context("no temporary directory")?;
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700))?;
        let password = random_base62(24)?;
        let password_file = home.path().join("password");
        fs::write(&password_file, &password)?;
        let data = home.path().join("data");
        account.own(&[home.path(), &password_file])?;
        let output = account
            .command(&binaries.join("initdb"))
            .args([
                "--username",
                SUPERUSER,
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C.UTF-8",
            ])
            .args(["--no-sync", "--no-instructions", "--pwfile"])
            .arg(&password_file)
            .arg("--pgdata")
            .arg(&data)
            .stdin(Stdio::null())
            .output()
            .context("initdb cannot be run")?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let mut lines = vec![
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!("unix_socket_directories = '{}'", home.path().display()),
            // Throw-away data need not survive a power cut.
            "fsync = off".to_owned(),
            "max_connections = 200".to_owned(),
        ];
        if let Some(certificate) = certificate {
            let (cert, key) = (home.path().join("server.crt"), home.path().join("server.key"));
            fs::write(&cert, &certificate.certificate)?;
            fs::write(&key, &certificate.key)?;
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
            account.own(&[&cert, &key])?;
            lines.push("ssl = on".to_owned());
            lines.push(format!("ssl_cert_file = '{}'", cert.display()));
            lines.push(format!("ssl_key_file = '{}'", key.display()));
        }
        lines.extend(
            settings
                .iter()
                .map(|(name, value)| format!("{name} = '{}'", value.replace('\'', "''"))),
        );
        let conf = data.join("postgresql.auto.conf");
        fs::write(&conf, lines.join("\n") + "\n")?;
        account.own(&[&conf])?;
        Self::launch(home, password, binaries, &account)
    }

    /// A port that was free a moment ago can be taken by the time the server asks for it: try another one then.
    fn launch(home: TempDir, password: String, binaries: PathBuf, account: &Account) -> Result<Self> {
        let log = home.path().join("server.log");
        for _ in 0..5 {
            let port = free_port()?;
            let stderr = fs::File::create(&log)?;
            let mut server = account
                .command(&binaries.join("postgres"))
                .arg("-D")
                .arg(home.path().join("data"))
                .args(["-p", &port.to_string()])
                .stdin(Stdio::null())
                .stdout(stderr.try_clone()?)
                .stderr(stderr)
                .spawn()
                .context("postgres cannot be run")?;
            if answers(&mut server, &binaries.join("pg_isready"), port)? {
                return Ok(Self {
                    home,
                    server,
                    port,
                    password,
                    binaries,
                });
            }
            let said = fs::read_to_string(&log).unwrap_or_default();
            if !said.contains("Address already in use") {
                bail!("PostgreSQL did not start: {}", said.trim());
            }
        }
        bail!("no free port for PostgreSQL")
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The directory that goes when the cluster goes; also the Unix socket's.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The path of a PostgreSQL program of the same version.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// Runs SQL as the superuser with psql and returns what it printed, unaligned and without headers.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut child = Command::new(self.bin("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
                "-U",
                SUPERUSER,
            ])
            .args(["-p", &self.port.to_string(), "-d", database, "-f", "-"])
            .env("PGPASSWORD", &self.password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("psql cannot be run")?;
        if let Some(mut stdin) = child.stdin.take() {
            std::io::Write::write_all(&mut stdin, sql.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("psql failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// What the server wrote to its log so far.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.home.path().join("server.log"))?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGINT is the server's fast shutdown; the child is ours, so its id cannot have been reused.
        if let Ok(pid) = i32::try_from(self.server.id()) {
            let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if !matches!(self.server.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _killed = self.server.kill();
        let _reaped = self.server.wait();
    }
}

/// Waits until the server answers; false when it has exited.
fn answers(server: &mut Child, pg_isready: &Path, port: u16) -> Result<bool> {
    let deadline = Instant::now() + START_DEADLINE;
    while Instant::now() < deadline {
        if server.try_wait()?.is_some() {
            return Ok(false);
        }
        let answer = Command::new(pg_isready)
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .status()?;
        if answer.success() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("PostgreSQL did not answer within {} s", START_DEADLINE.as_secs())
}

/// Who the server runs as.
struct Account {
    /// Set when we are root and must step down.
    other: Option<(u32, u32)>,
}

impl Account {
    fn find() -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(Self { other: None });
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = nix::unistd::User::from_name(name)? {
                return Ok(Self {
                    other: Some((user.uid.as_raw(), user.gid.as_raw())),
                });
            }
        }
        bail!("running as root, and there is no account `postgres` or `nobody` to hand the server to")
    }

    /// A command that runs as that account and does not outlive us.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT"]);
        if let Some((uid, gid)) = self.other {
            command.args([
                "--reuid",
                &uid.to_string(),
                "--regid",
                &gid.to_string(),
                "--clear-groups",
            ]);
        }
        command.arg("--").arg(program);
        command
    }

    fn own(&self, paths: &[&Path]) -> Result<()> {
        if let Some((uid, gid)) = self.other {
            for path in paths {
                chown(path, Some(uid), Some(gid))?;
            }
        }
        Ok(())
    }
}

/// A TCP port on 127.0.0.1 that stays this process's own until it ends, through any number of restarts of what
/// listens on it.
///
/// Below the ports that systems give to outgoing connections (32768 on Linux), which could take it in between. Who
/// holds the UDP port of the same number owns the TCP port: the kernel keeps the list, and clears it after a crash.
pub fn free_port() -> Result<u16> {
    static OWNED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    let mut owned = OWNED.lock().unwrap_or_else(PoisonError::into_inner);
    // Neighbouring processes start far apart, so that the first try nearly always fits.
    let start = std::process::id().wrapping_mul(7_919);
    for step in 0..u32::from(PORTS.end - PORTS.start) {
        let offset = start.wrapping_add(step) % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(offset)?;
        let Ok(claim) = UdpSocket::bind(("127.0.0.1", port)) else {
            continue;
        };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            owned.push(claim);
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", PORTS.start, PORTS.end)
}

/// The newest PostgreSQL installation with a server: `PG_BINDIR`, Debian's folders, the search path.
fn binaries() -> Result<PathBuf> {
    if let Some(chosen) = std::env::var_os("PG_BINDIR") {
        return Ok(PathBuf::from(chosen));
    }
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin): &(u32, PathBuf)| bin.join("initdb").exists())
        .collect();
    found.sort();
    if let Some((_, bin)) = found.pop() {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("initdb").exists())
        .context("no PostgreSQL server found: install the package postgresql (Debian, Ubuntu), postgresql-server (Fedora), or set PG_BINDIR")
}
