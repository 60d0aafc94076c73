import 'dart:async';
import 'dart:io';
import 'dart:math';

import 'lock.dart';

/// For every window, process and isolate that names the same file.
///
/// The lock is held by whoever has made the file; it holds the id of that owner, and how often it has been renewed. (A
/// lock of the operating system would not do: on Linux and macOS it belongs to the process, so that two isolates would
/// both have it.)
///
/// The owner renews it while it works, however long that takes. One that nobody has renewed for [patience] was left
/// behind by a process that died, and is taken away. That is told by looking, not by the age of the file: the clock may be
/// set, and a machine that slept wakes up with the owner still at work.
///
/// Two can hold it where an owner's isolate did nothing else for [patience], as one that a debugger holds does; and where,
/// of three who wait for a lock that was left behind, one is stopped between two system calls while the others take it.
class LockFile implements Lock {
  LockFile(String path, {this.patience = const Duration(seconds: 10)}) : _file = File(path);

  /// How long a lock may go without being renewed.
  final Duration patience;

  final File _file;
  final Lock _isolate = MemoryLock();
  final String _owner = _newOwner();
  int _renewals = 0;

  static const _pause = Duration(milliseconds: 50);

  @override
  Future<T> exclusively<T>(Future<T> Function() work) => _isolate.exclusively(() async {
        await _take();
        final renewal = Timer.periodic(patience ~/ 10, (_) => _renew());
        try {
          return await work();
        } finally {
          renewal.cancel();
          await _release();
        }
      });

  Future<void> _take() async {
    String? seen;
    var unchanged = Duration.zero;
    while (!_make()) {
      final held = _read();
      unchanged = held != null && held == seen ? unchanged + _pause : Duration.zero;
      seen = held;
      if (held != null && unchanged >= patience) {
        _takeAway(held);
        seen = null;
      }
      await Future<void>.delayed(_pause);
    }
  }

  bool _make() {
    try {
      _file.createSync(exclusive: true);
    } on PathExistsException {
      return false;
    }
    try {
      _write();
    } on FileSystemException {
      _file.deleteSync();
      rethrow;
    }
    return true;
  }

  /// What the file holds, or `null` where there is none.
  String? _read() {
    try {
      return _file.readAsStringSync();
    } on FileSystemException {
      return null;
    }
  }

  void _write() {
    _renewals += 1;
    _file.writeAsStringSync('$_owner $_renewals', flush: true);
  }

  bool _isMine() => _read()?.startsWith('$_owner ') ?? false;

  void _renew() {
    if (!_isMine()) return;
    try {
      _write();
    } on FileSystemException {
      // Tried again in a moment.
    }
  }

  /// Of several who find the same lock left behind, one succeeds in renaming it. Whoever comes too late may have renamed
  /// the lock of that one, sees so by what is in it, and gives it back.
  void _takeAway(String leftBehind) {
    if (_read() != leftBehind) return;
    try {
      final taken = _file.renameSync('${_file.path}.$_owner');
      final held = taken.readAsStringSync();
      taken.deleteSync();
      if (held != leftBehind) {
        _file
          ..createSync(exclusive: true)
          ..writeAsStringSync(held, flush: true);
      }
    } on FileSystemException {
      // Somebody else was quicker, or it has just been released.
    }
  }

  /// Takes nobody else's away. Where the system lets it not be deleted now, as Windows does while somebody reads it, it is
  /// tried again; after that it counts as left behind.
  Future<void> _release() async {
    for (var attempts = 0; attempts < 5 && _isMine(); attempts += 1) {
      try {
        _file.deleteSync();
      } on FileSystemException {
        await Future<void>.delayed(_pause);
      }
    }
  }

  static String _newOwner() {
    final random = Random.secure();
    return List.generate(16, (_) => random.nextInt(256).toRadixString(16).padLeft(2, '0')).join();
  }
}
