//! What a person sees of a page: opened in a browser at two widths, with scripts switched off.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod chromium;
mod sample;

use chromium::Chromium;
use memtwin_html::{MAX_BYTES, TitledRecord, comparison_page, report_page};
use memtwin_report::RunRecord;
use memtwin_report::comparison::Comparison;
use memtwin_testbed::{Need, lacks};
use sample::{HOSTILE, hostile, lost, matrix, recorded};
use std::fs;
use std::path::{Path, PathBuf};

/// A desktop's and a telephone's.
const WIDTHS: [u64; 2] = [1280, 400];

/// What can be seen and is wider than the window, and whether the window has to be scrolled sideways.
const OVERFLOW: &str = "[...document.querySelectorAll('body *')]
    .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(e).position != 'absolute')
    .map(e => e.outerHTML.slice(0, 200))
    .concat(document.documentElement.scrollWidth > innerWidth ? ['scrolls'] : [])
    .slice(0, 5)";

/// Unfolds what a page of a few cases has, and of a page of hundreds, which are alike, as much.
const UNFOLD: &str =
    "[...document.querySelectorAll('details')].slice(0, 100).forEach(e => { e.open = true })";

/// Pictures without a role, a title and a description.
const MUTE: &str = "[...document.querySelectorAll('svg')].filter(e =>
    e.getAttribute('role') != 'img' || !e.querySelector('title').textContent || !e.querySelector('desc').textContent
    || e.getAttribute('aria-labelledby').split(' ').some(id => !document.getElementById(id))).length";

/// Ids that are there twice, and links that lead nowhere.
const LOOSE: &str = "(() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
    const links = [...document.querySelectorAll('a')].map(e => e.getAttribute('href').slice(1));
    return ids.length - new Set(ids).size + links.filter(id => !document.getElementById(id)).length })()";

fn page(record: &RunRecord) -> String {
    report_page(&[TitledRecord { title: "run.json", record }])
}

fn written(folder: &Path, name: &str, page: &str) -> PathBuf {
    assert!(page.len() < MAX_BYTES, "{name}: {} bytes", page.len());
    let path = folder.join(name).with_extension("html");
    fs::write(&path, page).unwrap();
    path
}

/// What is wrong with the page that is open, at this width, folded and unfolded.
fn faults(browser: &mut Chromium, width: u64) -> Vec<String> {
    let mut faults = Vec::new();
    browser.width(width);
    for unfold in [false, true] {
        if unfold {
            browser.look(UNFOLD);
        }
        let wide = browser.look(OVERFLOW);
        faults.extend(wide.as_array().unwrap().iter().map(|wide| format!("{width}: {wide}")));
    }
    browser.look("document.querySelectorAll('details').forEach(e => { e.open = false })");
    faults.extend((browser.look(MUTE) != 0).then(|| "a picture without words".to_owned()));
    faults.extend((browser.look(LOOSE) != 0).then(|| "an id twice, or a link to none".to_owned()));
    faults.extend(browser.complaints());
    faults
}

/// Opens a page, which must be as it should at both widths; returns all its text.
fn shown(browser: &mut Chromium, path: &Path) -> String {
    browser.open(path);
    for width in WIDTHS {
        assert_eq!(faults(browser, width), [""; 0], "{}", path.display());
        browser.look("scrollTo(0, 0)");
        let (wide, png) = browser.screenshot();
        assert_eq!(wide, width);
        // A page without anything on it is smaller than this.
        assert!(png.len() > 8_000, "{}: a picture of {} bytes", path.display(), png.len());
    }
    browser.look("document.body.textContent").as_str().unwrap().to_owned()
}

/// One browser for all of it: starting one takes longer than a page.
#[test]
fn pages_are_whole_in_a_browser() {
    if lacks(&[Need::Program("chromium")]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut browser = Chromium::start();
    let (before, lossy) = (recorded("before"), recorded("lossy"));

    let path = written(folder, "lossy", &page(&lossy));
    let text = shown(&mut browser, &path);
    // The page that was withheld on purpose, and how often.
    for words in ["4 of 4 cases differ: 4 pages lost", "0x2004d000", "--seed 8", "kvm/get"] {
        assert!(text.contains(words), "no {words}");
    }
    assert_eq!(browser.look("document.querySelectorAll('svg .f-lost').length > 0"), true);
    assert_eq!(browser.look("document.querySelectorAll('.matrix a.fail').length"), 4);
    // In the dark, and on paper, where what is folded is printed too.
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = browser.look(ground);
    browser.media("screen", "dark");
    assert_ne!(browser.look(ground), light);
    let folded = "document.querySelector('details:not([open]) table').checkVisibility({contentVisibilityAuto: true})";
    assert_eq!(browser.look(folded), false);
    browser.media("print", "light");
    browser.until(folded);
    assert!(browser.pdf().starts_with(b"%PDF"));
    browser.media("screen", "light");

    let text = shown(&mut browser, &written(folder, "before", &page(&before)));
    assert!(text.contains("Verified: 4 of 4 cases"), "{text}");
    assert_eq!(browser.look("document.querySelectorAll('.h5').length > 0"), true);

    let text = shown(&mut browser, &written(folder, "migrate", &page(&recorded("migrate"))));
    for words in ["QEMU's own downtime: 9.0 ms + 230.2 ms paused for judging", "round 0: 1.4 s"] {
        assert!(text.contains(words), "no {words}: {text}");
    }
    let text = shown(&mut browser, &written(folder, "sweep", &page(&recorded("sweep"))));
    for words in ["Predicted beside observed", "1 Gbit/s", "200 Mbit/s", "5 ms"] {
        assert!(text.contains(words), "no {words}: {text}");
    }
    let text = shown(&mut browser, &written(folder, "matrix", &page(&matrix())));
    assert!(text.contains("Verified: 837 of 891 cases, 54 skipped"));
    assert!(text.contains("✓ identical 27+"));

    let text = shown(&mut browser, &written(folder, "million", &page(&lost(1_000_000))));
    for words in ["1,000,000 pages lost", "999,800 more pages in the record", "0x18c000"] {
        assert!(text.contains(words), "no {words}");
    }

    let sides = ["before.json".to_owned()];
    let page =
        comparison_page(&sides, &["lossy.json".to_owned()], &Comparison::of(&[before], &[lossy]));
    let text = shown(&mut browser, &written(folder, "comparison", &page));
    for words in ["4 cases: 4 worse.", "was passed, is failed", "seed: 7 before, 8 after"] {
        assert!(text.contains(words), "no {words}: {text}");
    }

    // What would be markup is text, and nothing of it runs or is fetched.
    let page = self::page(&hostile());
    let text = shown(&mut browser, &written(folder, "hostile", &page));
    for words in &HOSTILE[..5] {
        assert!(text.contains(words), "no {words}");
    }
    assert_eq!(
        browser.look("document.querySelectorAll('script, img, iframe, [onmouseover]').length"),
        0
    );

    // The controls: each fault is found.
    let broken = |what: &str| page.replace("</main>", &format!("{what}</main>"));
    for (what, found) in [
        ("<div style='width: 2000px'>wide</div>", "scrolls"),
        ("<svg role='img'><title></title><desc></desc></svg>", "a picture without words"),
        ("<p id='r0'></p>", "an id twice"),
        ("<img src='x.png'>", "x.png"),
    ] {
        browser.open(&written(folder, "broken", &broken(what)));
        let faults = faults(&mut browser, 400);
        assert!(faults.iter().any(|fault| fault.contains(found)), "{what}: {faults:?}");
    }
}
