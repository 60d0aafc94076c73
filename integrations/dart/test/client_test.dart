/// What the scenarios of the contract can't say: many callers, and a storage that fails.
library;

import 'dart:async';
import 'dart:io';

import 'package:codelab_auth/codelab_auth.dart';
import 'package:test/test.dart';

const nearItsEnd = Tokens(accessToken: 'a1', refreshToken: 'r1', expiresAt: 100, lifetime: 900, scope: '');
const expired = Tokens(accessToken: 'a1', refreshToken: 'r1', expiresAt: -1, lifetime: 900, scope: '');

void main() {
  test('fifty callers make one refresh and share its outcome', () async {
    final server = Server();
    final client = server.client(MemoryStorage(expired));
    final callers = [for (var i = 0; i < 50; i += 1) client.accessToken()];
    await pumpEventQueue();
    server.answers.complete(successor(2));
    expect(await Future.wait(callers), everyElement('a2'));
    expect(server.presented, ['r1']);
  });

  test('fifty callers share a failure', () async {
    final server = Server();
    final client = server.client(MemoryStorage(expired));
    final callers = [for (var i = 0; i < 50; i += 1) expectLater(client.accessToken(), throwsA(isA<Unavailable>()))];
    await pumpEventQueue();
    server.answers.completeError(const NoAnswer(wasSent: false));
    await Future.wait(callers);
    expect(server.presented, ['r1']);
  });

  test('tokens that can not be saved are used, and saved as soon as that works', () async {
    final server = Server();
    final storage = FullStorage(nearItsEnd);
    final client = server.client(storage);
    server.answers.complete(successor(2));
    expect(await client.accessToken(), 'a2');
    expect(await client.accessToken(), 'a2');
    expect((await storage.load())?.refreshToken, 'r1');
    storage.isFull = false;
    expect(await client.accessToken(), 'a2');
    expect((await storage.load())?.refreshToken, 'r2');
    expect(server.presented, ['r1']);
  });

  test('a lock that is out of order fails nobody whose token is good', () async {
    final server = Server();
    expect(await server.client(MemoryStorage(nearItsEnd), BrokenLock()).accessToken(), 'a1');
    await expectLater(
      server.client(MemoryStorage(expired), BrokenLock()).accessToken(),
      throwsA(isA<FileSystemException>()),
    );
    expect(server.presented, isEmpty);
  });
}

Answer successor(int number) =>
    Answer(200, {'access_token': 'a$number', 'refresh_token': 'r$number', 'expires_in': 900});

/// Gives one answer to everybody, when it is told to.
class Server implements Transport {
  final answers = Completer<Answer>();
  final presented = <String?>[];

  AuthClient client(TokenStorage storage, [Lock? lock]) => AuthClient(
        'https://auth.example.org',
        clientId: 'codelab-flutter-app',
        storage: storage,
        lock: lock,
        transport: this,
        clock: () => 0,
      );

  @override
  Future<Answer> post(Uri url, {required Map<String, String> headers, required Map<String, String> form}) {
    presented.add(form['refresh_token']);
    return answers.future;
  }
}

class FullStorage extends MemoryStorage {
  FullStorage(super.tokens);

  bool isFull = true;

  @override
  Future<void> save(Tokens? tokens) async {
    if (isFull) throw const FileSystemException('no space left');
    await super.save(tokens);
  }
}

class BrokenLock implements Lock {
  @override
  Future<T> exclusively<T>(Future<T> Function() work) => throw const FileSystemException('no space left');
}
