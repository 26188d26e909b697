//! `#include "file"` and `#include <file>`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{DEPTH_MAX, FILE_BYTES_MAX, FILES_MAX, Preprocessor};
use crate::diagnostics::Diagnostic;
use crate::lexer::{Kind, Token};
use crate::source::Span;

/// A file that is being read.
pub(super) struct Open {
    path: PathBuf,
    /// Its path without links and `..`, by which it is the same file.
    same: PathBuf,
}

impl Open {
    pub(super) fn new(path: &Path) -> Self {
        let same = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        Self { path: path.to_path_buf(), same }
    }
}

/// A path as diagnostics show it, the same on every system.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

/// A file's text, or why there is none.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.kind().to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.kind().to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))
}

impl Preprocessor<'_> {
    /// Reads the file of an `#include` in its place.
    pub(super) fn include(&mut self, arguments: &[Token], whole: Span) {
        let (name, library) = match arguments {
            [token] if token.kind == Kind::String => (token.text.to_string(), false),
            [open, .., close] if open.is("<") && close.is(">") => {
                let between = Span { start: open.span.end, end: close.span.start, ..whole };
                (self.sources.text(between).trim().to_owned(), true)
            }
            _ => {
                let diagnostic = Diagnostic::new(whole, "#include takes the name of one file");
                return self.mistake(diagnostic.remedy("write #include \"file\" or #include <file>"));
            }
        };
        if self.open.len() >= DEPTH_MAX {
            let message = format!("files include one another more than {DEPTH_MAX} deep");
            return self.stop(Diagnostic::new(whole, message));
        }
        self.files += 1;
        if self.files > FILES_MAX {
            return self.stop(Diagnostic::new(whole, format!("the program includes more than {FILES_MAX} files")));
        }
        let here = self.open.last().and_then(|open| open.path.parent()).map(Path::to_path_buf);
        let beside = if library { None } else { here };
        let folders = beside.into_iter().chain(self.options.include_folders.iter().cloned());
        let Some(path) = folders.map(|folder| folder.join(&name)).find(|path| path.is_file()) else {
            let remedy = match (library, self.options.include_folders.is_empty()) {
                (true, true) => "say where to search with -I".to_owned(),
                (true, false) => format!("it is in none of {}", self.searched()),
                (false, true) => "it is not beside this file; say where else to search with -I".to_owned(),
                (false, false) => format!("it is neither beside this file nor in {}", self.searched()),
            };
            self.incomplete = true;
            return self.mistake(Diagnostic::new(whole, format!("there is no file {name}")).remedy(remedy));
        };
        let open = Open::new(&path);
        if let Some(place) = self.open.iter().position(|other| other.same == open.same) {
            let through: Vec<_> = self.open[place + 1..].iter().map(|open| shown(&open.path)).collect();
            let message = match through.as_slice() {
                [] => format!("{name} includes itself"),
                _ => format!("{name} includes itself, through {}", through.join(" and ")),
            };
            let guard = "put #ifndef, #define and #endif around what both need, in a file of its own";
            return self.mistake(Diagnostic::new(whole, message).remedy(guard));
        }
        match read(&path) {
            Ok(text) => {
                let within_library = library || self.sources.file(whole).library;
                let file = self.sources.add(shown(&path), text, Some(whole), within_library);
                self.open.push(open);
                self.file(file);
                self.open.pop();
            }
            Err(reason) => {
                self.incomplete = true;
                self.mistake(Diagnostic::new(whole, format!("{} cannot be read: {reason}", shown(&path))));
            }
        }
    }

    fn searched(&self) -> String {
        self.options.include_folders.iter().map(|folder| shown(folder)).collect::<Vec<_>>().join(", ")
    }
}
