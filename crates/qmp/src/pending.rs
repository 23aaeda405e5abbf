//! A command whose answer is not waited for at once: for who must do something else meanwhile, such as
//! reading the stream that QEMU writes before it answers.

use crate::client::Qmp;
use crate::message::{CommandBand, request};
use crate::monitor_socket::deadline;
use crate::{QmpError, client::AnswerWait};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};

/// A command that was sent, and whose answer has not come.
#[derive(Debug)]
pub struct PendingAnswer {
    command: String,
    id: String,
    until: Instant,
}

impl Qmp {
    /// Sends a command, whose answer is then asked for with [`Qmp::try_answer`]. No other command may be
    /// executed before it has come: its answer would be dropped.
    ///
    /// Errors: as [`Qmp::execute`], but for a refusal.
    pub fn submit(
        &mut self,
        command: &str,
        arguments: impl Serialize,
    ) -> Result<PendingAnswer, QmpError> {
        let until = deadline(self.patience());
        let id = self.next_id();
        let request = request(CommandBand::In, command, arguments, &id)?;
        self.send(command, &request, None, until)?;
        Ok(PendingAnswer { command: command.to_owned(), id, until })
    }

    /// The answer to a command that was submitted, if it comes within this time. `None`: not yet.
    ///
    /// Errors: as [`Qmp::execute`]; it took longer than our patience.
    pub fn try_answer<T: DeserializeOwned>(
        &mut self,
        pending: &PendingAnswer,
        timeout: Duration,
    ) -> Result<Option<T>, QmpError> {
        let until = deadline(timeout).min(pending.until);
        let returned = match self.answer(&pending.command, &pending.id, until) {
            Ok(returned) => returned,
            Err(AnswerWait::Late(_)) if Instant::now() < pending.until => return Ok(None),
            Err(AnswerWait::Late(error) | AnswerWait::Failed(error)) => return Err(error),
        };
        serde_json::from_str(&returned).map(Some).map_err(|error| QmpError::BadAnswer {
            command: pending.command.clone(),
            problem: error.to_string(),
        })
    }
}
