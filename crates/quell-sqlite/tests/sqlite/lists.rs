use quell_core::store::{Accepted, Page, Record, RunRecord, Store};
use quell_core::{RunFilter, RunId, RunKind};
use quell_sqlite::SqliteStore;

use crate::fixture::{Folder, accept, at, block_on, epoch};

#[test]
fn a_list_that_looks_for_what_is_rare_reads_in_parts_and_finds_it() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.file("runs.db")).unwrap();
    let id = |nth: usize| RunId::from_text(&nth.to_string());
    let rare = |run| Accepted::new(run, RunKind::Agent, "rare".into(), epoch(&store), at());
    block_on(async {
        for part in 0..25 {
            let common = (1_000 * part..1_000 * (part + 1)).map(|nth| match nth {
                0 | 24_999 => Record::Accepted(Box::new(rare(id(nth)))),
                _ => accept(id(nth), epoch(&store)),
            });
            store.append(common.collect()).await.unwrap();
        }
        let (mut page, mut parts) = (Page::first(9), Vec::new());
        loop {
            let part = store.list(RunFilter::new().name("rare"), page).await.unwrap();
            let runs = part.items.into_iter().map(|run| run.as_ref().map(RunRecord::run).unwrap());
            parts.push(runs.collect::<Vec<_>>());
            let Some(next) = part.next else { break };
            page = page.after(next);
        }
        assert_eq!(parts, [vec![id(24_999)], vec![], vec![id(0)]]);
        store.close().await.unwrap();
    });
}
