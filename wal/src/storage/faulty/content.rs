//! One file of the simulated disk: what readers see, what is durable, and what lies between.
//!
//! ```text
//! page 7:   durable D     unsynced, in the order of writing:  A  B  (truncated)  C
//! lengths:  durable 65536 unsynced: 131072, 0, 65536
//! ```
//!
//! A power cut first decides how many of the unsynced length changes survive (they are metadata: in order, a prefix), then
//! for each sector of 512 bytes which of `D A B` or `zeroes C` it holds, by whether the truncation is among the survivors.
//! A write that was synced when its length was not is unsynced still: that is the condition in the seam's table.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::random::Random;

pub(super) const PAGE: u64 = 4096;
pub(super) const SECTOR: usize = 512;

pub(super) type Page = [u8; PAGE as usize];

const BLANK: Page = [0; PAGE as usize];

/// Pages by number; absent ones are zero. Nothing is kept at or beyond `len`, except the rest of the last page, as zeroes.
#[derive(Clone, Debug, Default)]
struct Image {
    len: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Image {
    fn page(&self, number: u64) -> &Page {
        self.pages.get(&number).map_or(&BLANK, |page| page)
    }

    fn set_len(&mut self, len: u64) {
        self.len = len;
        self.pages.split_off(&len.div_ceil(PAGE));
        let rest = (len % PAGE) as usize;
        if rest > 0
            && let Some(last) = self.pages.get_mut(&(len / PAGE))
        {
            Arc::make_mut(last)[rest..].fill(0);
        }
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let end = self.len.min(offset.saturating_add(buffer.len() as u64));
        let mut at = offset;
        while at < end {
            let within = (at % PAGE) as usize;
            let part = (PAGE - at % PAGE).min(end - at) as usize;
            let to = (at - offset) as usize;
            buffer[to..to + part].copy_from_slice(&self.page(at / PAGE)[within..within + part]);
            at += part as u64;
        }
        end.saturating_sub(offset) as usize
    }
}

#[derive(Clone, Debug)]
struct Version {
    /// How many of the unsynced length changes were made before.
    after_lengths: usize,
    /// `None`: cut off by a truncation.
    page: Option<Arc<Page>>,
}

/// How much survives a power cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survival {
    /// In this many of eight cases an unsynced sector does.
    pub(super) eighths: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    seen: Image,
    durable: Image,
    unsynced: BTreeMap<u64, Vec<Version>>,
    unsynced_lengths: Vec<u64>,
    bad: Vec<Range<u64>>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.seen.len
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        self.seen.read(buffer, offset)
    }

    /// Whether a read of this range meets a place that fails.
    pub(super) fn is_bad(&self, offset: u64, len: usize) -> bool {
        let end = offset.saturating_add(len as u64).min(self.seen.len);
        self.bad.iter().any(|bad| bad.start < end && offset < bad.end)
    }

    pub(super) fn set_bad(&mut self, range: Range<u64>) {
        self.bad.push(range);
    }

    pub(super) fn heal(&mut self) {
        self.bad.clear();
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len == self.seen.len {
            return;
        }
        let shrinks = len < self.seen.len;
        self.seen.set_len(len);
        self.unsynced_lengths.push(len);
        if shrinks {
            if !len.is_multiple_of(PAGE) {
                let boundary = Arc::new(*self.seen.page(len / PAGE));
                let after_lengths = self.unsynced_lengths.len();
                let versions = self.unsynced.entry(len / PAGE).or_default();
                versions.push(Version { after_lengths, page: Some(boundary) });
            }
            let first = len.div_ceil(PAGE);
            let mut cut: Vec<u64> =
                self.durable.pages.range(first..).map(|(number, _page)| *number).collect();
            cut.extend(self.unsynced.range(first..).map(|(number, _versions)| *number));
            let after_lengths = self.unsynced_lengths.len();
            for number in cut {
                let versions = self.unsynced.entry(number).or_default();
                if versions.last().is_none_or(|version| version.page.is_some()) {
                    versions.push(Version { after_lengths, page: None });
                }
            }
        }
    }

    /// Writes whole pages, lengthening the file if need be. `durably` holds only as the seam's table says.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64, durably: bool) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len() as u64;
        if end > self.seen.len {
            self.set_len(end);
        }
        for (number, bytes) in (offset / PAGE..).zip(bytes.chunks_exact(PAGE as usize)) {
            let mut page = BLANK;
            page.copy_from_slice(bytes);
            let page = Arc::new(page);
            self.seen.pages.insert(number, page.clone());
            let placed = (number + 1) * PAGE <= self.durable.len
                && self
                    .unsynced
                    .get(&number)
                    .is_none_or(|all| all.iter().all(|version| version.page.is_some()));
            if durably && placed {
                self.durable.pages.insert(number, page);
                self.unsynced.remove(&number);
            } else {
                let after_lengths = self.unsynced_lengths.len();
                self.unsynced.entry(number).or_default().push(Version { after_lengths, page: Some(page) });
            }
        }
    }

    /// A write that failed: each sector is there or is not. None of it is known to be durable.
    pub(super) fn write_torn(&mut self, bytes: &[u8], offset: u64, random: &mut Random) {
        let eighths = [0, 1, 4, 7, 8][random.below(5)];
        let mut torn = vec![0; bytes.len()];
        self.seen.read(&mut torn, offset);
        let mut any = false;
        for (sector, new) in torn.chunks_mut(SECTOR).zip(bytes.chunks(SECTOR)) {
            if random.chance(eighths) {
                sector.copy_from_slice(new);
                any = true;
            }
        }
        if any {
            self.write(&torn, offset, false);
        }
    }

    /// A write of which only the first sectors were done. None of it is known to be durable.
    pub(super) fn write_short(&mut self, bytes: &[u8], offset: u64, random: &mut Random) {
        let done = random.below(bytes.len() / SECTOR + 1) * SECTOR;
        // Whole pages, as ever: what is behind the last sector stays as it was.
        let pages = done.next_multiple_of(PAGE as usize).min(bytes.len());
        let mut short = vec![0; pages];
        self.seen.read(&mut short, offset);
        short[..done].copy_from_slice(&bytes[..done]);
        self.write(&short, offset, false);
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.seen_and_remembered();
        self.unsynced.clear();
        self.unsynced_lengths.clear();
    }

    /// What a successful sync makes durable: what is seen, but where an earlier sync failed what that left behind.
    fn seen_and_remembered(&self) -> Image {
        let mut image = self.durable.clone();
        image.set_len(self.seen.len);
        for (number, versions) in &self.unsynced {
            match versions.last().and_then(|version| version.page.clone()) {
                Some(page) if number * PAGE < self.seen.len => image.pages.insert(*number, page),
                _ => image.pages.remove(number),
            };
        }
        // Cuts the last page's rest.
        image.set_len(self.seen.len);
        image
    }

    /// A sync that failed, as Linux does it: some pages reached the disk, the others are marked clean all the same. They are
    /// read as written from now on, and are gone after a power cut, whatever syncs succeed in between.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        let numbers: Vec<u64> = self.unsynced.keys().copied().collect();
        for number in numbers {
            // A truncation is metadata and stays unsynced.
            let data = self.unsynced[&number].iter().all(|version| version.page.is_some());
            if !data || (number + 1) * PAGE > self.durable.len {
                continue;
            }
            let versions = self.unsynced.remove(&number).unwrap_or_default();
            if random.chance(4)
                && let Some(page) = versions.into_iter().next_back().and_then(|version| version.page)
            {
                self.durable.pages.insert(number, page);
            }
        }
    }

    pub(super) fn power_cut(&mut self, survival: Survival, random: &mut Random) {
        let lengths = match survival.eighths {
            0 => 0,
            8 => self.unsynced_lengths.len(),
            _ => random.below(self.unsynced_lengths.len() + 1),
        };
        let len = lengths.checked_sub(1).map_or(self.durable.len, |last| self.unsynced_lengths[last]);
        let shortest = self.unsynced_lengths[..lengths].iter().copied().min().unwrap_or(len);
        let mut image = self.durable.clone();
        image.set_len(shortest.min(self.durable.len));
        image.set_len(len);
        for (number, versions) in &self.unsynced {
            let mut candidates = vec![Arc::new(*self.durable.page(*number))];
            for version in versions {
                match &version.page {
                    Some(page) => candidates.push(page.clone()),
                    None if version.after_lengths <= lengths => candidates = vec![Arc::new(BLANK)],
                    None => break,
                }
            }
            if number * PAGE < len {
                image.pages.insert(*number, Arc::new(mix(&candidates, survival, random)));
            }
        }
        image.set_len(len);
        self.seen = image.clone();
        self.durable = image;
        self.unsynced.clear();
        self.unsynced_lengths.clear();
    }

    /// Changes a byte wherever it is kept, as if it had always been so.
    pub(super) fn change(&mut self, offset: u64, change: impl Fn(&mut u8)) {
        let (number, within) = (offset / PAGE, (offset % PAGE) as usize);
        for image in [&mut self.seen, &mut self.durable] {
            if offset < image.len {
                let page = image.pages.entry(number).or_insert_with(|| Arc::new(BLANK));
                change(&mut Arc::make_mut(page)[within]);
            }
        }
        for version in self.unsynced.get_mut(&number).into_iter().flatten() {
            if let Some(page) = &mut version.page {
                change(&mut Arc::make_mut(page)[within]);
            }
        }
    }
}

/// A page whose sectors come from the first candidate (the durable one) or any other, the last one above all.
fn mix(candidates: &[Arc<Page>], survival: Survival, random: &mut Random) -> Page {
    let last = candidates.len() - 1;
    let mut page = BLANK;
    for (number, sector) in page.chunks_exact_mut(SECTOR).enumerate() {
        let pick = if !random.chance(survival.eighths) {
            0
        } else if survival.eighths == 8 || random.chance(4) {
            last
        } else {
            random.below(candidates.len())
        };
        sector.copy_from_slice(&candidates[pick][number * SECTOR..(number + 1) * SECTOR]);
    }
    page
}
