/// Something about signing in or staying so went wrong. Its text holds no secret.
sealed class AuthError implements Exception {
  const AuthError(this.message);

  final String message;

  @override
  String toString() => '$runtimeType: $message';
}

/// The user name or the password is wrong.
final class WrongCredentials extends AuthError {
  const WrongCredentials() : super('the user name or the password is wrong');
}

/// There is no session, or it has ended: the user has to sign in.
final class SignedOut extends AuthError {
  const SignedOut(super.message);
}

/// The account or the address is locked or limited for a while.
final class TooManyAttempts extends AuthError {
  const TooManyAttempts(this.retryAfter) : super('too many attempts');

  /// After how long it makes sense to try again, where the server says so.
  final Duration? retryAfter;
}

/// It may work later. Nobody has been signed out.
final class Unavailable extends AuthError {
  const Unavailable(super.message, [this.retryAfter]);

  /// After how long it makes sense to try again, where the server says so.
  final Duration? retryAfter;
}

/// The server does not take this client or request.
final class RequestRefused extends AuthError {
  const RequestRefused(this.code) : super('the server refused the request: $code');

  /// The `error` of its answer (RFC 6749 section 5.2).
  final String code;
}
