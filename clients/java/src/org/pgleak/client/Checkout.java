package org.pgleak.client;

import java.sql.Connection;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** Where a connection was taken that has not been closed. */
public final class Checkout {
  private final Connection connection;
  private final int pid;
  private final Throwable stack;
  private final String thread = Thread.currentThread().getName();
  private final Instant since = Instant.now();
  private final CallSites sites;

  Checkout(Connection connection, int pid, Throwable stack, CallSites sites) {
    this.connection = connection;
    this.pid = pid;
    this.stack = stack;
    this.sites = sites;
  }

  /** The pool's connection, not the wrapper. */
  Connection connection() {
    return connection;
  }

  /** Process id of its session; 0 with a driver other than pgjdbc. */
  public int pid() {
    return pid;
  }

  public Instant since() {
    return since;
  }

  /** Name of the thread that took it. */
  public String thread() {
    return thread;
  }

  /** The application's frames, or all of them if none is the application's. */
  public List<StackTraceElement> stack() {
    List<StackTraceElement> all = List.of(stack.getStackTrace());
    List<StackTraceElement> own = new ArrayList<>();
    for (StackTraceElement frame : all) if (sites.isApplication(frame.getClassName())) own.add(frame);
    return Collections.unmodifiableList(own.isEmpty() ? all : own);
  }

  @Override
  public String toString() {
    StringBuilder text = new StringBuilder("taken by thread ").append(thread).append(" at ").append(since).append(':');
    for (StackTraceElement frame : stack()) text.append("\n\tat ").append(frame);
    return text.toString();
  }
}
