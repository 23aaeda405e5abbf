//! What came of a twin that was received, as a case.

use memtwin_remote::{ReceiveEnd, TwinReceiver};
use memtwin_report::{Case, CaseBuilder};
use memtwin_wire::TwinVerdict;
use std::collections::BTreeMap;

/// The case of a twin that was received, by its sender's verdict and what is kept here.
pub fn received_case(ended: &ReceiveEnd, receiver: &TwinReceiver) -> Case {
    let trial = CaseBuilder::new("receive", "remote", &receiver.layout());
    match ended {
        ReceiveEnd::Judged { outcome: TwinVerdict::Identical, kept: Ok(()), .. } => {
            trial.judged(Vec::new(), BTreeMap::new())
        }
        ReceiveEnd::Judged { outcome: TwinVerdict::Differs, kept, .. } => {
            let why = kept.as_ref().err().map_or("the judge found lost pages", String::as_str);
            trial.differs(why)
        }
        ReceiveEnd::Judged { reason, kept, .. } => {
            let why = kept.as_ref().err().map_or("", String::as_str);
            trial.inconclusive(if reason.is_empty() { why } else { reason }, Vec::new())
        }
        ReceiveEnd::Abandoned { held, why } => {
            let held = match held {
                Some(round) => format!("the file holds round {round}, and is marked incomplete"),
                None => "nothing was received".to_owned(),
            };
            trial.inconclusive(format!("the sender is gone ({why}): {held}"), Vec::new())
        }
    }
}
