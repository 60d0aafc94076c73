/// `integrations/contracts/client.json`, scenario by scenario.
library;

import 'dart:convert';
import 'dart:io';

import 'package:codelab_auth/codelab_auth.dart';
import 'package:test/test.dart';

typedef Json = Map<String, Object?>;

void main() {
  final document = jsonDecode(File('../contracts/client.json').readAsStringSync()) as Json;
  for (final scenario in (document['scenarios']! as List<Object?>).cast<Json>()) {
    test(scenario['name'], () => play(scenario));
  }
}

Future<void> play(Json scenario) async {
  final setUp = scenario['client']! as Json;
  final storage = MemoryStorage(tokens(scenario['stored']));
  final script = Script();
  num now = 0;
  final client = AuthClient(
    'https://auth.example.org',
    clientId: setUp['client_id']! as String,
    clientSecret: setUp['client_secret'] as String?,
    refreshBefore: Duration(seconds: setUp['refresh_before']! as int),
    retryWindow: Duration(seconds: setUp['retry_window']! as int),
    storage: storage,
    transport: script,
    clock: () => now,
  );
  for (final step in (scenario['steps']! as List<Object?>).cast<Json>()) {
    now = step['at']! as num;
    script.exchanges = (step['exchanges']! as List<Object?>).cast<Json>().toList();
    expect(await outcome(client, step), step['outcome']);
    expect(script.exchanges, isEmpty, reason: 'a request was not made');
    final kept = await storage.load();
    expect(kept == null ? null : jsonDecode(kept.toJson()), step['stored']);
  }
}

Tokens? tokens(Object? stored) => stored == null ? null : Tokens.fromJson(jsonEncode(stored));

Future<Json> outcome(AuthClient client, Json step) async {
  Json timed(String error, Duration? retryAfter) =>
      {'error': error, if (retryAfter != null) 'retry_after': retryAfter.inSeconds};
  try {
    switch (step['do']) {
      case 'sign_in':
        final scope = step['scope'] as String?;
        await client.signIn(step['username']! as String, step['password']! as String, scope: scope);
      case 'sign_out':
        await client.signOut();
      default:
        return {'access_token': await client.accessToken()};
    }
    return {'ok': true};
  } on AuthError catch (fault) {
    return switch (fault) {
      WrongCredentials() => {'error': 'wrong_credentials'},
      SignedOut() => {'error': 'signed_out'},
      TooManyAttempts(:final retryAfter) => timed('too_many_attempts', retryAfter),
      Unavailable(:final retryAfter) => timed('unavailable', retryAfter),
      RequestRefused(:final code) => {'error': 'refused', 'code': code},
    };
  }
}

/// Answers the requests that a step expects, and no other.
class Script implements Transport {
  List<Json> exchanges = [];

  @override
  Future<Answer> post(Uri url, {required Map<String, String> headers, required Map<String, String> form}) async {
    expect(exchanges, isNotEmpty, reason: 'a request too many: $url');
    final exchange = exchanges.removeAt(0);
    final request = exchange['request']! as Json;
    final answer = exchange['answer']! as Json;
    expect(url.path, request['path']);
    expect(form, request['form']);
    for (final MapEntry(:key, :value) in (request['headers']! as Json).entries) {
      // The transport encodes the form, and says so.
      if (key != 'content-type') expect(headers[key], value);
    }
    switch (answer['fault']) {
      case 'refused':
        throw const NoAnswer(wasSent: false);
      case 'lost':
        throw const NoAnswer(wasSent: true);
    }
    final body = answer['body'];
    final retryAfter = (answer['headers']! as Json)['retry-after'] as String?;
    return Answer.read(answer['status']! as int, body is String ? body : jsonEncode(body), retryAfter);
  }
}
