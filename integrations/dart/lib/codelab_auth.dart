/// Signs in at the CodeLab Auth Service and keeps an access token that can be used.
///
/// [AuthClient] is one session at one server; [TokenStorage] is where it is kept, [Lock] what keeps whoever shares it from
/// refreshing at the same time, and [AuthInterceptor] puts a token on every request of a `Dio`. Windows and isolates that
/// share a session need the `LockFile` of `package:codelab_auth/io.dart`.
library;

export 'src/auth_client.dart' show AuthClient;
export 'src/auth_error.dart';
export 'src/auth_interceptor.dart' show AuthInterceptor;
export 'src/lock.dart' show Lock, MemoryLock;
export 'src/tokens.dart' show MemoryStorage, TokenStorage, Tokens;
export 'src/transport.dart' show Answer, DioTransport, NoAnswer, Transport;
