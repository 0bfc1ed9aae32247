// Brings frames to a running `fluoropose serve` and prints the poses that come back, as live.cc does in C++.
//
//   Live FRAMES.raw RATE_HZ RING_OF_FRAMES RING_OF_POSES
using System;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

static class Fluoropose {
  const string Library = "fluoropose_embed";  // libfluoropose_embed.so, where the system's loader finds it

  [StructLayout(LayoutKind.Sequential)]
  public struct Layout {
    public uint StructSize, WidthPx, HeightPx, Bits, Slots;
  }

  [StructLayout(LayoutKind.Sequential)]
  public struct Pose {
    public uint StructSize, Reserved;
    public ulong Number;
    public double TimeS;
    public ulong ArrivedNs;
    public double LatencyMs, Quality;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 16)]
    public double[] WorldFromBone;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 4)]
    public double[] Quaternion;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 36)]
    public double[] Covariance;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 6)]
    public double[] Rate;
    public uint Phase, Session, Landmarks, ReservedToo;
    [MarshalAs(UnmanagedType.ByValArray, SizeConst = 128)]
    public byte[] Reason;  // UTF-8
  }

  [DllImport(Library)]
  static extern IntPtr fluoropose_problem();
  [DllImport(Library)]
  public static extern int fluoropose_frames_open(byte[] path, IntPtr layout, out IntPtr frames);
  [DllImport(Library)]
  public static extern int fluoropose_frames_layout(IntPtr frames, ref Layout layout);
  [DllImport(Library)]
  public static extern int fluoropose_frames_write(IntPtr frames, uint view, ulong number, double timeS, byte[] pixels,
                                                   ulong bytes);
  [DllImport(Library)]
  public static extern void fluoropose_frames_close(IntPtr frames, int finished);
  [DllImport(Library)]
  public static extern int fluoropose_poses_open(byte[] path, out IntPtr poses);
  [DllImport(Library)]
  public static extern int fluoropose_poses_next(IntPtr poses, double timeoutS, ref Pose pose);
  [DllImport(Library)]
  public static extern void fluoropose_poses_close(IntPtr poses);

  public static byte[] Path(string path) { return Encoding.UTF8.GetBytes(path + "\0"); }

  public static int Checked(int status) {
    if (status < 0) throw new IOException(Marshal.PtrToStringAnsi(fluoropose_problem()));
    return status;
  }
}

static class Live {
  static readonly string[] Phases = { "lost", "acquired", "tracking", "coasting" };

  // Prints poses until `last` has come, or nothing for 10 s.
  static void Follow(IntPtr poses, ulong last) {
    var pose = new Fluoropose.Pose { StructSize = (uint)Marshal.SizeOf(typeof(Fluoropose.Pose)) };
    while (Fluoropose.Checked(Fluoropose.fluoropose_poses_next(poses, 10.0, ref pose)) == 0) {
      double[] m = pose.WorldFromBone, q = pose.Quaternion;
      string reason = Encoding.UTF8.GetString(pose.Reason).TrimEnd('\0');
      Console.WriteLine("{0} {1} {2:F6} {3:F6} {4:F6} mm, quaternion {5:F9} {6:F9} {7:F9} {8:F9}, {9:F2} ms{10}",
                        pose.Number, Phases[pose.Phase & 3], m[3], m[7], m[11], q[0], q[1], q[2], q[3], pose.LatencyMs,
                        reason == "" ? "" : ": " + reason);
      if (pose.Number == last) return;
    }
  }

  static void Main(string[] args) {
    CultureInfo.DefaultThreadCurrentCulture = CultureInfo.InvariantCulture;
    CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
    IntPtr frames, poses;
    Fluoropose.Checked(Fluoropose.fluoropose_poses_open(Fluoropose.Path(args[3]), out poses));
    Fluoropose.Checked(Fluoropose.fluoropose_frames_open(Fluoropose.Path(args[2]), IntPtr.Zero, out frames));
    var layout = new Fluoropose.Layout { StructSize = (uint)Marshal.SizeOf(typeof(Fluoropose.Layout)) };
    Fluoropose.Checked(Fluoropose.fluoropose_frames_layout(frames, ref layout));
    var pixels = new byte[layout.WidthPx * layout.HeightPx * (layout.Bits <= 8 ? 1 : 2)];
    double rate = double.Parse(args[1]);
    using (var file = File.OpenRead(args[0])) {
      ulong pairs = (ulong)(file.Length / (2 * pixels.Length));
      var follower = new Thread(() => Follow(poses, pairs - 1));
      follower.Start();
      var clock = System.Diagnostics.Stopwatch.StartNew();
      for (ulong number = 0; number < pairs; ++number) {
        double timeS = number / rate;
        Thread.Sleep(Math.Max(0, (int)(1000 * timeS - clock.ElapsedMilliseconds)));
        for (uint view = 0; view < 2; ++view) {
          file.Read(pixels, 0, pixels.Length);
          Fluoropose.Checked(
              Fluoropose.fluoropose_frames_write(frames, view, number, timeS, pixels, (ulong)pixels.Length));
        }
      }
      follower.Join();
    }
    Fluoropose.fluoropose_frames_close(frames, 1);
    Fluoropose.fluoropose_poses_close(poses);
  }
}
