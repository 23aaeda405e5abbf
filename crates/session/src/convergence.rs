//! What a replication that does not converge says for itself: how fast pages get dirty, how fast
//! they go, and what is left.

use memtwin_pages::Layout;
use memtwin_remote::Figures;
use memtwin_replicate::Round;
use std::time::Duration;

/// Of how many rounds at the end the rates are taken.
const LAST: usize = 20;

/// Dirty rate, link rate and backlog, in one line.
pub(crate) fn numbers(rounds: &[Round], layout: &Layout, figures: Option<Figures>) -> String {
    let page = layout.iter().map(|(_, region)| region.page_size().bytes()).min().unwrap_or(0);
    let last = &rounds[rounds.len().saturating_sub(LAST)..];
    let time: Duration = last.iter().map(|round| round.total).sum();
    let dirty: u64 = last.iter().map(|round| round.dirty_pages).sum();
    let bytes: u64 = last.iter().map(|round| round.bytes).sum();
    let rate = |bytes: f64| format!("{:.1} MB/s", bytes / 1e6 / time.as_secs_f64().max(1e-9));
    let backlog = last.last().map_or(0, |round| round.dirty_pages);
    let link = match figures.and_then(|figures| figures.link_rate()) {
        Some(link) => format!("the link takes {:.1} MB/s", link / 1e6),
        None => format!("the twin takes {}", rate(bytes as f64)),
    };
    format!(
        "in the last {} rounds pages got dirty at {}, {} of it had to be sent; {link}; backlog {} \
         pages ({:.1} MB)",
        last.len(),
        rate((dirty * page) as f64),
        rate(bytes as f64),
        backlog,
        (backlog * page) as f64 / 1e6,
    )
}

/// What sending came to, in one line.
pub(crate) fn sent(figures: &Figures) -> String {
    let mut line = format!(
        "sent {:.1} MB for {} pages; waited {:.1} s for the link, {:.1} s for the receiver",
        figures.sent_bytes as f64 / 1e6,
        figures.pages,
        figures.sending.as_secs_f64(),
        figures.stalled.as_secs_f64(),
    );
    if figures.reconnects > 0 {
        line += &format!(
            "; the connection was made anew {} times ({:.1} s without), {} pages went again",
            figures.reconnects,
            figures.away.as_secs_f64(),
            figures.pages_again
        );
    }
    line
}
