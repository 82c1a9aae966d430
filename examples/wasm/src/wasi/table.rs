//! File descriptors.

use super::errno::{BADF, Fault, ISDIR, NOTDIR};
use cap_std::fs::Dir;
use std::collections::BTreeMap;
use std::fs::File;
use std::rc::Rc;

/// What a descriptor stands for. Cloning gives another handle of the same open file.
#[derive(Clone, Debug)]
pub(super) enum Descriptor {
    Input,
    Output,
    Error,
    File { file: Rc<File>, append: bool },
    Directory(Rc<Directory>),
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    pub dir: Dir,
    /// The name of a directory that was there from the start.
    pub name: Option<String>,
}

impl Descriptor {
    pub fn preopened(dir: Dir, name: &str) -> Self {
        Self::Directory(Rc::new(Directory {
            dir,
            name: Some(name.to_string()),
        }))
    }

    pub fn opened(dir: Dir) -> Self {
        Self::Directory(Rc::new(Directory { dir, name: None }))
    }
}

/// The descriptors of a program.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<u32, Descriptor>,
}

impl Table {
    /// The standard streams.
    pub fn with_streams() -> Self {
        let mut table = Self::default();
        table.add(Descriptor::Input);
        table.add(Descriptor::Output);
        table.add(Descriptor::Error);
        table
    }

    /// Adds a descriptor under the lowest number that is free.
    pub fn add(&mut self, descriptor: Descriptor) -> u32 {
        let free = (0..).find(|number| !self.entries.contains_key(number));
        let number = free.unwrap_or(u32::MAX);
        self.entries.insert(number, descriptor);
        number
    }

    pub fn get(&self, number: u64) -> Result<Descriptor, Fault> {
        let number = u32::try_from(number).map_err(|_| BADF)?;
        self.entries.get(&number).cloned().ok_or(BADF)
    }

    pub fn file(&self, number: u64) -> Result<(Rc<File>, bool), Fault> {
        match self.get(number)? {
            Descriptor::File { file, append } => Ok((file, append)),
            Descriptor::Directory(_) => Err(ISDIR),
            _ => Err(super::errno::SPIPE),
        }
    }

    pub fn directory(&self, number: u64) -> Result<Rc<Directory>, Fault> {
        match self.get(number)? {
            Descriptor::Directory(directory) => Ok(directory),
            _ => Err(NOTDIR),
        }
    }

    /// Puts another descriptor in the place of an open one.
    pub fn replace(&mut self, number: u64, descriptor: Descriptor) -> Result<(), Fault> {
        let number = u32::try_from(number).map_err(|_| BADF)?;
        let entry = self.entries.get_mut(&number).ok_or(BADF)?;
        *entry = descriptor;
        Ok(())
    }

    pub fn close(&mut self, number: u64) -> Result<Descriptor, Fault> {
        let number = u32::try_from(number).map_err(|_| BADF)?;
        self.entries.remove(&number).ok_or(BADF)
    }

    /// Moves `from` to `to`, which is closed.
    pub fn renumber(&mut self, from: u64, to: u64) -> Result<(), Fault> {
        self.get(to)?;
        let descriptor = self.close(from)?;
        let to = u32::try_from(to).map_err(|_| BADF)?;
        self.entries.insert(to, descriptor);
        Ok(())
    }
}
