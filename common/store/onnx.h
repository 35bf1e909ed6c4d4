/* onnx.h - a generator as an ONNX model: latents to pictures in any runtime, with standard operators only.
 *
 *   opset 17 (ai.onnx), IR version 8
 *   z      float32 [N,z_dim]            N is free
 *   class  int64 [N]                    only where the network has classes
 *   psi    float32 []                   truncation towards the mean of w (1 = none), unless it is fixed when the model is written
 *   image  float32 [N,channels,res,res] about -1 .. 1, the noise inputs constant (as sg2-gen --noise const)
 *
 * A modulated convolution is what it is in common/stylegan2: the input times the style, one convolution with shared weights, the result
 * times rsqrt(style^2 q + 1e-8), where q, the sum of squares of the weights over the kernel, is a constant of the model. Upsampling is
 * ConvTranspose, and a convolution of each channel with the filter.
 */
#ifndef FACEMILL_ONNX_H
#define FACEMILL_ONNX_H

#include "common/store/safetensors.h"
#include "common/stylegan2/network.h"

#define ONNX_OPSET 17

/* t: float32 tensors named prefix + "synthesis.b4.const" ... psi: NAN makes it an input. half: large weights are float16 in the file, and cast when the model is
 * loaded; it computes in float32 all the same. */
enum status onnx_write_generator(const char *path, const struct sg2_config *c, const struct st_entry *t, int n, const char *prefix, float psi,
                                 bool half, const char *producer, struct error *e);

#endif
