//! [`Packed`] holds the older entries of a log in little memory: what runs have emitted, and that
//! they were queued and have started, as one compressed text per block, everything else as it is.
//!
//! What it does is bounded, since a log does it under its lock: a block has few entries and few
//! bytes. None of it is foreign code: what was emitted is text by then.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use quell_core::{EventKind, Payload, RunId, RunKind};
use uuid::Uuid;

use crate::log::Entry;
use crate::log::ring::{PLACE_BYTES, Place};

/// Older entries of a log, in their order.
#[derive(Debug, Default)]
pub(super) struct Packed {
    blocks: VecDeque<Block>,
    /// The entries that are held.
    len: usize,
    /// What they count against the bound of the log: as much as before they were packed.
    bytes: usize,
    /// How many entries of the first block have left.
    left: usize,
    /// What those count that leave it next, the oldest last; counted anew when none is there.
    costs: Vec<usize>,
}

/// Entries that are packed together.
#[derive(Debug)]
struct Block {
    /// The times in the text count from here.
    base: Instant,
    /// The time of the last entry in the text.
    last: Instant,
    /// The number of entries.
    len: u32,
    /// The length of the text before it was compressed; zero if it is not, being no shorter then.
    plain: u32,
    /// What runs have said, entry by entry.
    text: Box<[u8]>,
    /// The entries that are kept as they are, by their places in the block.
    others: Box<[(u32, Place<Entry>)]>,
}

impl Packed {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends entries, which together fit into a block: see [`fitting`]. The last block grows by
    /// them while there is room, since few entries compress badly.
    pub(super) fn append(&mut self, entries: Vec<Place<Entry>>) {
        self.len += entries.len();
        self.bytes += entries.iter().map(|place| place.cost).sum::<usize>();
        if self.blocks.back().is_none_or(|last| !last.has_room(&entries)) {
            if self.blocks.len() == self.blocks.capacity() {
                // Most logs have one or two.
                self.blocks.reserve_exact(self.blocks.len().max(1));
            }
            self.blocks.extend(Block::new(&entries));
        }
        if let Some(last) = self.blocks.back_mut() {
            last.append(entries);
        }
    }

    /// Removes the oldest entry.
    pub(super) fn drop_oldest(&mut self) {
        let Some(first) = self.blocks.front() else {
            // Whoever makes room goes on until nothing is counted.
            return (self.len, self.bytes) = (0, 0);
        };
        if self.costs.is_empty() {
            let costs = first.unpack(self.left, usize::MAX);
            self.costs = costs.iter().rev().map(|place| place.cost).collect();
        }
        self.bytes -= self.costs.pop().unwrap_or_default();
        (self.left, self.len) = (self.left + 1, self.len - 1);
        if self.left == first.len as usize {
            self.left = 0;
            self.blocks.pop_front();
        }
    }

    /// Yields an entry, and some of those after it in its block, as many as are asked for in all.
    pub(super) fn read(&self, entry: usize, count: usize) -> Vec<Place<Entry>> {
        let mut at = entry + self.left;
        for block in &self.blocks {
            if at < block.len as usize {
                return block.unpack(at, count);
            }
            at -= block.len as usize;
        }
        Vec::new()
    }

    /// Calls a function with every entry.
    pub(super) fn each(&self, mut look: impl FnMut(&Entry)) {
        let mut left = self.left;
        for block in &self.blocks {
            let entries = block.unpack(std::mem::take(&mut left), usize::MAX);
            entries.iter().filter_map(|place| place.entry.as_ref()).for_each(&mut look);
        }
    }
}

/// Counts how many of these entries, the oldest first, fit into a block.
pub(super) fn fitting<'a>(entries: impl Iterator<Item = &'a Place<Entry>>) -> usize {
    let mut bytes = 0;
    let fits = |place: &&Place<Entry>| {
        bytes += text_of(place).map_or(0, |(_, text)| HEAD_BYTES + text.len());
        bytes <= BLOCK_BYTES
    };
    entries.take(BLOCK_LEN).take_while(fits).count()
}

/// Yields the bytes of the text of a block of these entries, at most.
fn bytes_of(entries: &[Place<Entry>]) -> usize {
    let texts = entries.iter().filter_map(text_of);
    texts.map(|(_, text)| HEAD_BYTES + text.len()).sum()
}

/// Yields what an entry has in the text of its block, if it is not kept as it is.
fn text_of(place: &Place<Entry>) -> Option<(&Entry, &str)> {
    let entry = place.entry.as_ref()?;
    let text = match &entry.kind {
        EventKind::Emitted(payload) => payload.as_json(),
        // No payload is empty.
        EventKind::Started => "",
        EventKind::Queued { kind, name, .. } if RunKind::ALL.contains(kind) => name,
        _ => return None,
    };
    let fits = text.len() <= TEXT_BYTES && place.cost == PLACE_BYTES + text.len();
    fits.then_some((entry, text))
}

impl Block {
    /// Makes one for these entries, and without any; none if there are none.
    fn new(entries: &[Place<Entry>]) -> Option<Self> {
        let base = entries.iter().find_map(|place| place.entry.as_ref())?.at;
        Some(Self {
            base,
            last: base,
            len: 0,
            plain: 0,
            text: Box::default(),
            others: Box::default(),
        })
    }

    fn has_room(&self, entries: &[Place<Entry>]) -> bool {
        let (len, plain) = (self.len as usize, self.plain_bytes());
        len + entries.len() <= BLOCK_LEN && plain + bytes_of(entries) <= BLOCK_BYTES
    }

    /// Appends entries to the text, which is compressed anew. What is in it already need not be
    /// read for that.
    fn append(&mut self, entries: Vec<Place<Entry>>) {
        let mut plain = self.plain_text().into_owned();
        plain.reserve(bytes_of(&entries));
        let mut others = std::mem::take(&mut self.others).into_vec();
        for place in entries {
            if let Some((entry, text)) = text_of(&place) {
                let since = entry.at.saturating_duration_since(self.last);
                self.last = entry.at;
                write_number(&mut plain, since.as_nanos().try_into().unwrap_or(u64::MAX));
                // Of a run that goes on saying the same it is all one repetition from here.
                plain.extend(entry.run.as_uuid().as_bytes());
                let queued = queued_bytes(&entry.kind);
                write_number(&mut plain, (text.len() as u64) << 1 | u64::from(queued.is_some()));
                plain.extend(queued.into_iter().flatten());
                plain.extend(text.as_bytes());
            } else {
                others.push((self.len, place));
            }
            self.len += 1;
        }
        let packed = lz4_flex::block::compress(&plain);
        let is_shorter = packed.len() < plain.len();
        self.plain = if is_shorter { u32::try_from(plain.len()).unwrap_or_default() } else { 0 };
        // Copied into just the memory that it needs.
        self.text = Box::from(if is_shorter { &packed[..] } else { &plain[..] });
        self.others = others.into();
    }

    fn plain_bytes(&self) -> usize {
        if self.plain == 0 { self.text.len() } else { self.plain as usize }
    }

    /// Yields the text as it was before it was compressed.
    fn plain_text(&self) -> Cow<'_, [u8]> {
        if self.plain == 0 {
            return Cow::Borrowed(&self.text);
        }
        // It was made by `append`, so it is whole.
        let plain = lz4_flex::block::decompress(&self.text, self.plain as usize);
        Cow::Owned(plain.unwrap_or_default())
    }

    /// Yields as many of its entries as are asked for, from a place on.
    fn unpack(&self, from: usize, count: usize) -> Vec<Place<Entry>> {
        let plain = self.plain_text();
        let mut text = &plain[..];
        let (mut at, mut others) = (self.base, self.others.iter().peekable());
        let until = from.saturating_add(count).min(self.len as usize);
        let mut entries = Vec::with_capacity(until.saturating_sub(from));
        for place in 0..until {
            let other = others.next_if(|(of, _)| *of as usize == place).map(|(_, other)| other);
            let read = if let Some(other) = other {
                (place >= from).then(|| other.clone())
            } else {
                let since = Duration::from_nanos(read_number(&mut text));
                at = at.checked_add(since).unwrap_or(at);
                let run = take(&mut text, size_of::<Uuid>());
                let number = read_number(&mut text);
                let queued = take(&mut text, if number & 1 == 0 { 0 } else { QUEUED_BYTES });
                let said = take(&mut text, usize::try_from(number >> 1).unwrap_or(usize::MAX));
                (place >= from).then(|| said_by(run, at, queued, said))
            };
            entries.extend(read);
        }
        entries
    }
}

fn said_by(run: &[u8], at: Instant, queued: &[u8], text: &[u8]) -> Place<Entry> {
    let text = str::from_utf8(text).unwrap_or_default();
    let kind = match (queued, Payload::from_json_text(text)) {
        ([how, parent @ ..], _) => queued_as(*how, parent, text),
        // Every payload is JSON, and is so again to the letter.
        ([], Ok(payload)) => EventKind::Emitted(payload),
        ([], Err(_)) => EventKind::Started,
    };
    let entry = Entry { run: run_of(run), at, kind };
    Place { entry: Some(entry), cost: PLACE_BYTES + text.len() }
}

/// Writes what is said of a run that was queued, besides its name.
fn queued_bytes(kind: &EventKind) -> Option<[u8; QUEUED_BYTES]> {
    let EventKind::Queued { parent, kind, shielded, .. } = kind else { return None };
    let kind = RunKind::ALL.iter().position(|known| known == kind)?;
    let mut bytes = [0; QUEUED_BYTES];
    bytes[0] =
        u8::try_from(kind).ok()? | u8::from(*shielded) << 6 | u8::from(parent.is_some()) << 7;
    bytes[1..]
        .copy_from_slice(parent.unwrap_or(RunId::from_uuid(Uuid::nil())).as_uuid().as_bytes());
    Some(bytes)
}

fn queued_as(how: u8, parent: &[u8], name: &str) -> EventKind {
    EventKind::Queued {
        parent: (how & 0x80 != 0).then(|| run_of(parent)),
        kind: RunKind::ALL.get(usize::from(how & 0x3f)).copied().unwrap_or(RunKind::Step),
        name: name.into(),
        shielded: how & 0x40 != 0,
    }
}

fn run_of(bytes: &[u8]) -> RunId {
    RunId::from_uuid(Uuid::from_slice(bytes).unwrap_or_default())
}

/// Writes a number in as many groups of seven bits as it has, the lowest first.
fn write_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.push(number.to_le_bytes()[0]);
}

fn read_number(from: &mut &[u8]) -> u64 {
    let mut number = 0;
    for group in 0..10 {
        let byte = take(from, 1).first().copied().unwrap_or_default();
        number |= u64::from(byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            break;
        }
    }
    number
}

/// Takes so many bytes off the front, or what there is.
fn take<'a>(from: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (taken, rest) = from.split_at(bytes.min(from.len()));
    *from = rest;
    taken
}

/// The most entries of a block.
const BLOCK_LEN: usize = 64;

/// The most bytes of the text of a block, before it is compressed.
const BLOCK_BYTES: usize = 16 << 10;

/// The longest text of an entry that is packed, in bytes. A longer one is kept as it is.
const TEXT_BYTES: usize = 8 << 10;

/// What an entry has in the text of its block besides its own text, at most: two numbers, a run,
/// and what is said of one that was queued.
const HEAD_BYTES: usize = 10 + 16 + 3 + QUEUED_BYTES;

/// The kind of a queued run and whether it is shielded or has a parent, and the parent.
const QUEUED_BYTES: usize = 1 + 16;
