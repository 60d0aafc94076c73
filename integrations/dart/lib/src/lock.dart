import 'dart:async';
import 'dart:io';

/// Lets one at a time do something.
abstract interface class Lock {
  /// Does [work] while everybody else who shares the lock waits.
  Future<T> exclusively<T>(Future<T> Function() work);
}

/// For one isolate alone.
class MemoryLock implements Lock {
  Future<void> _last = Future.value();

  @override
  Future<T> exclusively<T>(Future<T> Function() work) {
    final mine = Completer<void>();
    final before = _last;
    _last = mine.future;
    return before.then((_) => work()).whenComplete(mine.complete);
  }
}

/// For every window, process and isolate that names the same file.
///
/// The lock is held by whoever has made the file. (A lock of the operating system would not do: on Linux and macOS it
/// belongs to the process, so that two isolates would both have it.) One left behind by a process that died is taken
/// away when it is older than [patience], which is far longer than a refresh may take.
class FileLock implements Lock {
  FileLock(String path, {this.patience = const Duration(minutes: 1)}) : _file = File(path);

  final File _file;

  /// How old a lock may become.
  final Duration patience;

  final Lock _isolate = MemoryLock();
  static const _pause = Duration(milliseconds: 50);

  @override
  Future<T> exclusively<T>(Future<T> Function() work) => _isolate.exclusively(() async {
        while (!await _taken()) {
          await Future<void>.delayed(_pause);
        }
        try {
          return await work();
        } finally {
          await _release();
        }
      });

  Future<bool> _taken() async {
    try {
      await _file.create(exclusive: true);
      return true;
    } on PathExistsException {
      await _takeAwayIfLeftBehind();
      return false;
    }
  }

  /// Of several who find it left behind one succeeds in renaming it.
  Future<void> _takeAwayIfLeftBehind() async {
    try {
      final made = await _file.lastModified();
      if (DateTime.now().difference(made) > patience) {
        final left = await _file.rename('${_file.path}.${made.microsecondsSinceEpoch}');
        await left.delete();
      }
    } on FileSystemException {
      // Somebody else was quicker, or it has just been released.
    }
  }

  Future<void> _release() async {
    try {
      await _file.delete();
    } on FileSystemException {
      // It was taken away: this took longer than anybody's patience.
    }
  }
}
