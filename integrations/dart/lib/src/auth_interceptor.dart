import 'package:dio/dio.dart';

import 'auth_client.dart';
import 'auth_error.dart';

/// Puts an access token on each request of a `Dio`: `dio.interceptors.add(AuthInterceptor(client, dio))`.
///
/// A request that is answered by 401 `invalid_token` is sent once more, with a new token: nothing was done for it. One
/// whose body is a stream is not, since it can't be read twice. Where there is no token to be had, the request fails with
/// the [AuthError] as the exception's `error`.
class AuthInterceptor extends Interceptor {
  AuthInterceptor(this._client, this._dio);

  final AuthClient _client;
  final Dio _dio;

  static const _presented = 'codelab_auth.presented';
  static const _isSecond = 'codelab_auth.is_second';

  @override
  Future<void> onRequest(RequestOptions options, RequestInterceptorHandler handler) async {
    try {
      final token = await _client.accessToken(refused: options.extra[_presented] as String?);
      options.extra[_presented] = token;
      options.headers['authorization'] = 'Bearer $token';
      handler.next(options);
    } on AuthError catch (fault) {
      handler.reject(DioException(requestOptions: options, error: fault), true);
    }
  }

  @override
  Future<void> onError(DioException err, ErrorInterceptorHandler handler) async {
    final options = err.requestOptions;
    final challenge = err.response?.headers.value('www-authenticate') ?? '';
    final isRefused = err.response?.statusCode == 401 && challenge.contains('invalid_token');
    if (!isRefused || options.extra[_isSecond] == true || options.data is Stream) {
      handler.next(err);
      return;
    }
    options.extra[_isSecond] = true;
    try {
      handler.resolve(await _dio.fetch<Object?>(options));
    } on DioException catch (second) {
      handler.next(second);
    }
  }
}
