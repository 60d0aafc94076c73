//! Client authentication (RFC 6749 section 2.3): by nothing, by a secret in the form, or by HTTP Basic; never by two.

use crate::client::{Client, ClientAuthentication, ClientStatus};
use crate::refusal::{Challenge, Parameter, Refusal, RequestFault};
use crate::secret::ClientSecret;

/// What an HTTP Basic header says, each part decoded from the form encoding (RFC 6749 section 2.3.1).
#[derive(Debug)]
pub struct BasicCredentials {
    /// The user-id: the client's identifier.
    pub client_id: String,
    /// The password: the client's secret; `None` where it is empty, which means there is none.
    pub secret: Option<ClientSecret>,
}

/// How a client says, and proves, who it is.
#[derive(Debug)]
pub struct ClientCredentials {
    /// What it calls itself; whether such a client exists is not known yet.
    pub client_id: String,
    /// The secret it shows.
    pub secret: Option<ClientSecret>,
    /// How a refusal challenges it.
    pub challenge: Challenge,
}

impl ClientCredentials {
    /// Puts together what the form and the header say.
    ///
    /// # Errors
    /// `invalid_request` where both show a secret (RFC 6749 section 2.3: a client must not use more than one
    /// method), where they name different clients, or where neither names one.
    pub fn parse(
        form_id: Option<String>,
        form_secret: Option<String>,
        basic: Option<BasicCredentials>,
    ) -> Result<Self, Refusal> {
        match (basic, form_id) {
            (Some(_), _) if form_secret.is_some() => Err(invalid(RequestFault::TwoAuthentications)),
            (Some(basic), Some(form_id)) if form_id != basic.client_id => {
                Err(invalid(RequestFault::TwoClients))
            }
            (Some(basic), _) => Ok(Self {
                client_id: basic.client_id,
                secret: basic.secret,
                challenge: Challenge::Basic,
            }),
            (None, Some(client_id)) => {
                let secret = form_secret.map(ClientSecret::new);
                Ok(Self {
                    client_id,
                    secret,
                    challenge: Challenge::Other,
                })
            }
            (None, None) => Err(invalid(RequestFault::Missing(Parameter::ClientId))),
        }
    }

    /// Whether these credentials are this client's: an active confidential client shows its secret, an active
    /// public one shows none.
    pub fn authenticate(&self, client: &Client) -> bool {
        let is_proved = match (&client.authentication, &self.secret) {
            (ClientAuthentication::Public, None) => true,
            (ClientAuthentication::Confidential(hash), Some(secret)) => hash.matches(secret),
            (ClientAuthentication::Public, Some(_)) | (ClientAuthentication::Confidential(_), None) => false,
        };
        is_proved && client.status == ClientStatus::Active
    }
}

const fn invalid(fault: RequestFault) -> Refusal {
    Refusal::InvalidRequest(fault)
}
