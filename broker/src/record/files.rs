//! The ledger's folder: which file lies where, and how files are made so that only the broker reads them.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::ledger::{Finding, Head, Trouble};

use super::fault::RecordFault;

/// The ledger's folder.
#[derive(Debug, Clone)]
pub(super) struct Place {
    root: PathBuf,
}

impl Place {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn chain(&self) -> PathBuf {
        self.root.join("chain")
    }

    pub(super) fn journals(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.chain().join(format!("{number:08}.log"))
    }

    pub(super) fn journal(&self, name: &str) -> PathBuf {
        self.journals().join(format!("{name}.log"))
    }

    fn head(&self) -> PathBuf {
        self.root.join("HEAD")
    }

    /// Makes the folders, readable by the broker alone.
    pub(super) fn create(&self) -> Result<(), RecordFault> {
        for dir in [self.root.clone(), self.chain(), self.journals()] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.and_then(|()| fs::set_permissions(&dir, Permissions::from_mode(0o700)))
                .map_err(|error| RecordFault::io("creating", &dir, &error))?;
        }
        Ok(())
    }

    /// Takes the lock, which lasts as long as the file is open.
    pub(super) fn lock(&self) -> Result<File, RecordFault> {
        let path = self.root.join("LOCK");
        let fault = |error: &io::Error| RecordFault::io("locking", &path, error);
        let mut file = private().read(true).open(&path).map_err(|error| fault(&error))?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).map_err(|error| fault(&error))?;
                // Only a help for whoever finds the ledger locked.
                writeln!(file, "process {}", std::process::id()).map_err(|error| fault(&error))?;
                Ok(file)
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The lock's holder is named when it can be; that it is held is certain.
                let _named = file.take(64).read_to_string(&mut holder);
                Err(RecordFault::Locked {
                    dir: self.root.display().to_string(),
                    holder: holder.trim().to_owned(),
                })
            }
            Err(TryLockError::Error(error)) => Err(fault(&error)),
        }
    }

    /// The numbers of the chain's segments, ascending.
    pub(super) fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers: Vec<u64> = names(&self.chain())?
            .iter()
            .filter_map(|name| {
                let number = name.strip_suffix(".log")?.parse().ok()?;
                (*name == format!("{number:08}.log")).then_some(number)
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The journals' names, oldest first.
    pub(super) fn journal_names(&self) -> io::Result<Vec<String>> {
        let mut found: Vec<(String, u64)> = names(&self.journals())?
            .iter()
            .filter_map(|name| {
                let (boot, number) = name.strip_suffix(".log")?.rsplit_once('-')?;
                Some((boot.to_owned(), number.parse().ok()?))
            })
            .collect();
        found.sort();
        Ok(found.iter().map(|(boot, number)| format!("{boot}-{number}")).collect())
    }

    /// The head; `None` when there is none.
    pub(super) fn read_head(&self) -> Result<Option<Head>, Finding> {
        match fs::read(self.head()) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|_| Finding::of(Trouble::HeadMissing)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Finding::unreadable("HEAD", &error)),
        }
    }

    /// Replaces the head in one step: a crash leaves the old one or the new one.
    pub(super) fn write_head(&self, head: &Head) -> Result<(), RecordFault> {
        let path = self.head();
        let fresh = self.root.join("HEAD.new");
        let write = || {
            let mut text = serde_json::to_vec(head)?;
            text.push(b'\n');
            let mut file = private().truncate(true).open(&fresh)?;
            file.write_all(&text)?;
            file.sync_data()?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|error: io::Error| RecordFault::io("writing", &path, &error))
    }

    /// Finds out whether the disk takes and keeps bytes again.
    pub(super) fn probe(&self, lane: usize) -> io::Result<()> {
        let path = self.journals().join(format!("{lane}.probe"));
        let mut file = private().truncate(true).open(&path)?;
        let written = file.write_all(&vec![b'.'; 64 * 1024]).and_then(|()| file.sync_data());
        fs::remove_file(&path)?;
        written
    }
}

/// A file only the broker reads and writes, made when it is not there.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes a file that may already be gone.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}
