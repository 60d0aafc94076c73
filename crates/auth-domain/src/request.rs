//! Requests for tokens (RFC 6749 section 3.2) and about tokens (RFC 7009, RFC 7662), parsed at the edge into what they
//! mean.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::client::GrantType;
use crate::client_auth::{BasicCredentials, ClientCredentials};
use crate::password::MAX_PASSWORD_BYTES;
use crate::refusal::{Parameter, Refusal, RequestFault};
use crate::scope::Scope;
use crate::secret::{DeviceToken, Password, Token};

/// The longest login name that is looked up, in bytes: what the longest user name may take in UTF-8.
pub const MAX_LOGIN_BYTES: usize = 1_020;
/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8_192;

/// A token request whose form is right.
#[derive(Debug)]
pub struct TokenRequest {
    /// How the client says, and proves, who it is.
    pub client: ClientCredentials,
    /// What it offers for a token.
    pub grant: Grant,
    /// What the token shall be good for, where that is asked.
    pub scope: Option<Scope>,
    /// The note of a known device, where one came beside the form.
    pub device: Option<DeviceToken>,
}

/// What a client offers for a token.
#[derive(Debug)]
pub enum Grant {
    /// A user's name and password (RFC 6749 section 4.3).
    Password {
        /// A user name or an e-mail address.
        username: String,
        /// The password.
        password: Password,
    },
    /// A refresh token (RFC 6749 section 6).
    RefreshToken(Token),
}

impl Grant {
    /// The kind of grant.
    pub const fn grant_type(&self) -> GrantType {
        match self {
            Self::Password { .. } => GrantType::Password,
            Self::RefreshToken(_) => GrantType::RefreshToken,
        }
    }

    /// What was typed as a name, at a sign-in.
    pub fn login(&self) -> Option<&str> {
        match self {
            Self::Password { username, .. } => Some(username),
            Self::RefreshToken(_) => None,
        }
    }
}

/// A request about a token (RFC 7009 section 2.1, RFC 7662 section 2.1) whose form is right. What its
/// `token_type_hint` says is not kept: a token tells by itself of which kind it is.
#[derive(Debug)]
pub struct AboutToken {
    /// How the client says, and proves, who it is.
    pub client: ClientCredentials,
    /// The token it is about, of whatever kind.
    pub token: Token,
}

impl AboutToken {
    /// Reads a decoded form and the credentials of an HTTP Basic header.
    ///
    /// # Errors
    /// `invalid_request` or `invalid_client` (RFC 6749 section 5.2).
    pub fn parse(
        form: impl IntoIterator<Item = (String, impl Into<Zeroizing<String>>)>,
        basic: Option<BasicCredentials>,
    ) -> Result<Self, Refusal> {
        let mut parameters = Parameters::collect(form, Parameter::ABOUT_TOKEN)?;
        let client = parameters.client(basic)?;
        let token = parameters.bounded(Parameter::Token, MAX_TOKEN_BYTES)?;
        Ok(Self {
            client,
            token: Token::new(token),
        })
    }
}

/// The known parameters of a form, each at most once and never empty.
/// Any value may be a secret, so each is wiped when dropped, and none can be printed.
struct Parameters(BTreeMap<Parameter, Zeroizing<String>>);

impl TokenRequest {
    /// Reads a decoded form and the credentials of an HTTP Basic header.
    ///
    /// # Errors
    /// `invalid_request`, `unsupported_grant_type`, `invalid_scope` or `invalid_client` (RFC 6749 section 5.2).
    pub fn parse(
        form: impl IntoIterator<Item = (String, impl Into<Zeroizing<String>>)>,
        basic: Option<BasicCredentials>,
    ) -> Result<Self, Refusal> {
        let mut parameters = Parameters::collect(form, Parameter::OF_TOKEN_REQUEST)?;
        let grant_type = parameters.require(Parameter::GrantType)?;
        let grant_type = GrantType::parse(&grant_type).map_err(|_| Refusal::UnsupportedGrantType)?;
        let client = parameters.client(basic)?;
        let grant = match grant_type {
            GrantType::Password => parameters.password_grant()?,
            GrantType::RefreshToken => Grant::RefreshToken(Token::new(
                parameters.bounded(Parameter::RefreshToken, MAX_TOKEN_BYTES)?,
            )),
        };
        let scope = parameters
            .take(Parameter::Scope)
            .map(|text| Scope::parse(&text))
            .transpose();
        Ok(Self {
            client,
            grant,
            scope: scope.map_err(|_| Refusal::InvalidScope)?,
            device: None,
        })
    }
}

impl Parameters {
    /// Keeps what is known. A name sent twice is refused even where a value is empty (RFC 6749 section 3.2); what
    /// is unknown is ignored, and an empty value counts as absent.
    fn collect(
        form: impl IntoIterator<Item = (String, impl Into<Zeroizing<String>>)>,
        known: &[Parameter],
    ) -> Result<Self, Refusal> {
        let mut seen = BTreeMap::new();
        for (name, value) in form {
            let value = value.into();
            let Some(parameter) = known.iter().find(|parameter| parameter.as_str() == name) else {
                continue;
            };
            let parameter = *parameter;
            if value.contains('\0') {
                return Err(bad(parameter));
            }
            if seen.insert(parameter, value).is_some() {
                return Err(Refusal::InvalidRequest(RequestFault::Repeated(parameter)));
            }
        }
        seen.retain(|_, value| !value.is_empty());
        Ok(Self(seen))
    }

    fn take(&mut self, parameter: Parameter) -> Option<String> {
        self.0
            .remove(&parameter)
            .map(|mut value| std::mem::take(&mut *value))
    }

    fn require(&mut self, parameter: Parameter) -> Result<String, Refusal> {
        self.take(parameter)
            .ok_or(Refusal::InvalidRequest(RequestFault::Missing(parameter)))
    }

    fn bounded(&mut self, parameter: Parameter, most: usize) -> Result<String, Refusal> {
        let value = self.require(parameter)?;
        if value.len() > most {
            Err(bad(parameter))
        } else {
            Ok(value)
        }
    }

    fn client(&mut self, basic: Option<BasicCredentials>) -> Result<ClientCredentials, Refusal> {
        ClientCredentials::parse(
            self.take(Parameter::ClientId),
            self.take(Parameter::ClientSecret),
            basic,
        )
    }

    fn password_grant(&mut self) -> Result<Grant, Refusal> {
        Ok(Grant::Password {
            username: self.bounded(Parameter::Username, MAX_LOGIN_BYTES)?,
            password: Password::new(self.bounded(Parameter::Password, MAX_PASSWORD_BYTES)?),
        })
    }
}

const fn bad(parameter: Parameter) -> Refusal {
    Refusal::InvalidRequest(RequestFault::BadValue(parameter))
}
