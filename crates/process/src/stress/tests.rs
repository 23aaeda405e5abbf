//! Each stressor, turn by turn, on plain memory.

use super::*;
use memtwin_mapping::host_page_size;
use memtwin_stressor::{Controls, WriterWindow};

/// A window of zeros, the controls of its writers, and the writers.
fn writers(
    stressor: Stressor,
    count: usize,
    pages: u64,
) -> (Arc<Mapping>, Controls, Vec<PageWriter>) {
    let window = Arc::new(Mapping::anonymous(pages as usize * host_page_size(), 1).unwrap());
    let page = Arc::new(Mapping::anonymous(Controls::bytes(count), 1).unwrap());
    let shift = host_page_size().trailing_zeros();
    let seen = WriterWindow { base: window.address(), pages, shift };
    let controls = Controls::new(Arc::clone(&page), count, stressor, seen, 7);
    let writer = |i| PageWriter::new(Arc::clone(&window), Arc::clone(&page), i * control::BLOCK);
    let writers = (0..count).map(writer).collect();
    (window, controls, writers)
}

fn memory(window: &Mapping) -> Vec<u8> {
    let mut bytes = vec![0; window.len()];
    window.read(0, &mut bytes);
    bytes
}

/// The pages that one turn changed.
fn changed(window: &Mapping, turn: impl FnOnce() -> WriterStep) -> (WriterStep, Vec<usize>) {
    let before = memory(window);
    let turn = turn();
    let pages = before
        .chunks(host_page_size())
        .zip(memory(window).chunks(host_page_size()))
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(page, _)| page)
        .collect();
    (turn, pages)
}

#[test]
fn every_turn_changes_the_pages_that_it_counts() {
    for stressor in Stressor::ALL {
        let (window, _controls, mut writers) = writers(stressor, 2, 5);
        for i in 0..300 {
            let (turn, pages) = changed(&window, || writers[i % 2].turn());
            match turn {
                WriterStep::Wrote(count) => assert_eq!(pages.len() as u64, count, "{stressor}"),
                WriterStep::NotMine | WriterStep::Finished => {
                    assert_eq!((stressor, pages), (Stressor::Once, vec![]));
                }
                WriterStep::Unable => assert_eq!((stressor, pages), (Stressor::Walker, vec![])),
            }
        }
    }
}

#[test]
fn walks_go_their_way() {
    let visited = |stressor, turns| {
        let (window, _controls, mut writers) = writers(stressor, 1, 35);
        (0..turns).flat_map(|_| changed(&window, || writers[0].turn()).1).collect::<Vec<_>>()
    };
    assert_eq!(visited(Stressor::Sequential, 70), (0..35).chain(0..35).collect::<Vec<_>>());
    // 35 pages have a stride of 2.
    let strided: Vec<usize> = (0..35).step_by(2).chain((1..35).step_by(2)).chain([0, 2]).collect();
    assert_eq!(visited(Stressor::Strided, 37), strided);
}

#[test]
fn once_is_once_for_any_number_of_writers() {
    for (count, pages) in [(1, 1), (1, 8), (2, 9), (3, 37), (5, 64), (7, 100)] {
        let (window, _controls, mut writers) = writers(Stressor::Once, count, pages);
        let mut times = vec![0; pages as usize];
        for writer in &mut writers {
            loop {
                let (turn, pages) = changed(&window, || writer.turn());
                pages.into_iter().for_each(|page| times[page] += 1);
                if turn == WriterStep::Finished {
                    break;
                }
            }
        }
        assert!(times.iter().all(|&times| times == 1), "{count} writers: {times:?}");
    }
}

#[test]
fn zero_leaves_a_zero_page_every_other_time() {
    let (window, _controls, mut writers) = writers(Stressor::Zero, 1, 1);
    window.write(0, &vec![9; host_page_size()]);
    for round in 0..6 {
        assert_eq!(writers[0].turn(), WriterStep::Wrote(1));
        assert_eq!(memory(&window).iter().all(|&byte| byte == 0), round % 2 == 0);
    }
}

#[test]
fn a_writer_obeys() {
    let (window, mut controls, mut writers) = writers(Stressor::Random, 1, 5);
    let mut writer = writers.remove(0);
    controls.pace(Some(0));
    let thread = thread::spawn(move || writer.run());
    let untouched = memory(&window);
    controls.start();
    thread::sleep(NAP * 20);
    assert_eq!((controls.written(), controls.over()), (0, false));
    assert_eq!(memory(&window), untouched);
    controls.pace(None);
    while controls.written() < 1000 {
        thread::sleep(NAP);
    }
    assert_ne!(memory(&window), untouched);
    controls.stop();
    thread.join().unwrap();
    assert!(controls.over());
}

#[test]
fn a_walker_says_that_it_is_unable() {
    let (_window, mut controls, mut writers) = writers(Stressor::Walker, 1, 5);
    controls.start();
    writers[0].run();
    assert!(controls.unable());
}
