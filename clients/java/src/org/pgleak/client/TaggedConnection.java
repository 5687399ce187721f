package org.pgleak.client;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.Statement;
import java.util.LinkedHashSet;
import java.util.Set;

/**
 * What stands in front of a connection: it tags what is prepared, and hands out statements that tag what they execute. Prepared
 * statements are the driver's own, so executing them costs nothing more.
 */
final class TaggedConnection implements InvocationHandler {
  private static final ClassValue<Class<?>[]> interfacesOf = new ClassValue<>() {
    @Override
    protected Class<?>[] computeValue(Class<?> type) {
      Set<Class<?>> result = new LinkedHashSet<>();
      for (Class<?> each = type; each != null; each = each.getSuperclass()) addInterfaces(each, result);
      return result.toArray(new Class<?>[0]);
    }
  };

  private final Connection connection;
  private final PgleakDataSource source;

  private TaggedConnection(Connection connection, PgleakDataSource source) {
    this.connection = connection;
    this.source = source;
  }

  static Connection wrap(Connection connection, PgleakDataSource source) {
    return (Connection) proxy(connection, new TaggedConnection(connection, source));
  }

  /** All interfaces of the original that others may use, so that a cast to the driver's own still works. */
  private static Object proxy(Object original, InvocationHandler handler) {
    Class<?> type = original.getClass();
    return Proxy.newProxyInstance(type.getClassLoader(), interfacesOf.get(type), handler);
  }

  private static void addInterfaces(Class<?> type, Set<Class<?>> result) {
    for (Class<?> each : type.getInterfaces()) {
      if (Modifier.isPublic(each.getModifiers()) && each.getModule().isExported(each.getPackageName())) result.add(each);
      addInterfaces(each, result);
    }
  }

  private static Object call(Object target, Method method, Object[] values) throws Throwable {
    try {
      return method.invoke(target, values);
    } catch (InvocationTargetException error) {
      throw error.getCause();
    }
  }

  /** An object is equal to its proxy only. */
  private static Object callOfObject(Object proxy, Object target, Method method, Object[] values) {
    switch (method.getName()) {
      case "equals": return proxy == values[0];
      case "hashCode": return System.identityHashCode(proxy);
      default: return target.toString();
    }
  }

  @Override
  public Object invoke(Object proxy, Method method, Object[] values) throws Throwable {
    if (method.getDeclaringClass() == Object.class) return callOfObject(proxy, connection, method, values);
    switch (method.getName()) {
      case "prepareStatement":
      case "prepareCall":
        if (values[0] instanceof String) {
          values = values.clone();
          values[0] = source.tagPrepared((String) values[0]);
        }
        return call(connection, method, values);
      case "createStatement":
        return tagged((Statement) call(connection, method, values), (Connection) proxy);
      case "close":
      case "abort":
        source.give(connection);
        return call(connection, method, values);
      default:
        return call(connection, method, values);
    }
  }

  private Object tagged(Statement statement, Connection proxy) {
    try {
      return proxy(statement, (self, method, values) -> {
        if (method.getDeclaringClass() == Object.class) return callOfObject(self, statement, method, values);
        if (values == null && method.getName().equals("getConnection")) return proxy;
        if (values != null && values[0] instanceof String && takesStatement(method.getName())) {
          values = values.clone();
          values[0] = source.tag((String) values[0]);
        }
        return call(statement, method, values);
      });
    } catch (RuntimeException | LinkageError error) {
      Failures.report("a statement", error);
      return statement;
    }
  }

  private static boolean takesStatement(String method) {
    switch (method) {
      case "execute":
      case "executeQuery":
      case "executeUpdate":
      case "executeLargeUpdate":
      case "addBatch":
        return true;
      default:
        return false;
    }
  }
}
