//! A small HTTP client for tests: an answer is a value, whatever its status.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Response};

/// How long an answer may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// Speaks to one server.
#[derive(Debug, Clone)]
pub struct Http {
    agent: Agent,
    base: String,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Http {
    /// A client for the server at `http://ADDRESS`.
    pub fn new(address: impl std::fmt::Display) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        Self {
            agent,
            base: format!("http://{address}"),
        }
    }

    /// `GET`.
    ///
    /// # Errors
    /// Where there is no answer.
    pub fn get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.get_with(path, &[])
    }

    /// `GET` with headers.
    ///
    /// # Errors
    /// Where there is no answer.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(request.call()?)
    }

    /// `POST` of a form, with headers.
    ///
    /// # Errors
    /// Where there is no answer.
    pub fn post_form(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(request.send_form(form.iter().copied())?)
    }
}

impl Answer {
    fn read(mut response: Response<ureq::Body>) -> Result<Self, ureq::Error> {
        let body = response.body_mut().read_to_vec()?;
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body,
        })
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A member of the JSON object in the body, where it is a string.
    pub fn member(&self, name: &str) -> Option<String> {
        self.json().get(name)?.as_str().map(str::to_owned)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
