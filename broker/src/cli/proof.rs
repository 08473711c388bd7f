//! The key that lets a job use its one ID token again: GitLab gives one per job, and a job may open several endpoints.
//!
//! It is kept beside the job, in a file of its own user that is named after the token: the token alone, once leaked, is
//! not enough to ask for an endpoint again.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::base::secret::{Secret, random_base62};

/// A job's proof key.
#[derive(Debug)]
pub struct Proof {
    key: Secret,
    /// The token may have been used with it before.
    used: bool,
}

impl Proof {
    /// The key that belongs to `token`: what an earlier command of this job left in `folder`, or a new one.
    pub fn of(token: &Secret, folder: &Path) -> Result<Self> {
        let name = Sha256::digest(token.expose());
        let path = folder.join(format!("hoop-db-proof-{}", URL_SAFE_NO_PAD.encode(name)));
        let key = random_base62(43)?;
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(key.as_bytes()));
        match made {
            Ok(()) => Ok(Self {
                key: Secret::new(key),
                used: false,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let key = kept(&path).with_context(|| format!("{} cannot be used", path.display()))?;
                Ok(Self { key, used: true })
            }
            Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
    }

    /// The member of a request for a grant that carries it: its digest with the first use of the token, itself later.
    pub fn member(&self, tries: u32) -> (&'static str, String) {
        if self.used || tries > 0 {
            ("proof_key", self.key.expose().to_owned())
        } else {
            ("proof", URL_SAFE_NO_PAD.encode(Sha256::digest(self.key.expose())))
        }
    }
}

/// What an earlier command left, if nobody else can have written it.
fn kept(path: &Path) -> Result<Secret> {
    let mut file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != nix::unistd::Uid::effective().as_raw() || found.mode() & 0o077 != 0 {
        bail!("it is not a private file of this user");
    }
    let mut key = String::new();
    file.read_to_string(&mut key)?;
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_second_use_of_a_token_shows_the_key_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let token = Secret::new("a.b.c".to_owned());
        let first = Proof::of(&token, folder.path()).unwrap();
        let (name, digest) = first.member(0);
        assert_eq!(name, "proof");
        let second = Proof::of(&token, folder.path()).unwrap();
        let (name, key) = second.member(0);
        assert_eq!(name, "proof_key");
        assert_eq!(URL_SAFE_NO_PAD.encode(Sha256::digest(&key)), digest);
        assert_eq!(first.member(1), ("proof_key", key));
        let other = Proof::of(&Secret::new("a.b.d".to_owned()), folder.path()).unwrap();
        assert_eq!(other.member(0).0, "proof");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let token = Secret::new("a.b.c".to_owned());
        Proof::of(&token, folder.path()).unwrap();
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Proof::of(&token, folder.path()).is_err());
    }
}
