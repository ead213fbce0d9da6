// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Hardware for a board that has none: an I2C adapter with one device, which is 256 registers as most sensors are, and a
 * GPIO chip with a button and an LED. To programs both are as real as any; i2c-stub of the kernel speaks SMBus alone,
 * which is not what sensors' drivers in user space speak.
 *
 *   insmod board_bus.ko address=0x76 registers=HEX    the registers from 0 on
 *   /sys/module/board_bus/parameters/{button,led}     what the button is; what the LED was made
 */
#include <linux/gpio/driver.h>
#include <linux/i2c.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/string.h>

static ushort address = 0x76;
module_param(address, ushort, 0444);

static char *registers = "";
module_param(registers, charp, 0444);

static int button;
module_param(button, int, 0644);

static int led;
module_param(led, int, 0444);

static u8 held[256];
static u8 at;

static int transfer(struct i2c_adapter *adapter, struct i2c_msg *messages, int count)
{
	int i, j;

	for (i = 0; i < count; i++) {
		struct i2c_msg *message = &messages[i];

		if (message->addr != address)
			return -ENXIO;
		for (j = 0; j < message->len; j++) {
			if (message->flags & I2C_M_RD)
				message->buf[j] = held[at++];
			else if (j == 0)
				at = message->buf[j];
			else
				held[at++] = message->buf[j];
		}
	}
	return count;
}

static u32 functions(struct i2c_adapter *adapter)
{
	return I2C_FUNC_I2C | I2C_FUNC_SMBUS_EMUL;
}

static const struct i2c_algorithm algorithm = {
	.master_xfer = transfer,
	.functionality = functions,
};

static struct i2c_adapter adapter = {
	.owner = THIS_MODULE,
	.algo = &algorithm,
	.name = "board bus",
};

static const char *const names[] = { "button", "led" };

static int get_line(struct gpio_chip *chip, unsigned int line)
{
	return line == 0 ? button != 0 : led;
}

static void set_line(struct gpio_chip *chip, unsigned int line, int value)
{
	if (line == 1)
		led = value;
}

static int make_input(struct gpio_chip *chip, unsigned int line)
{
	return 0;
}

static int make_output(struct gpio_chip *chip, unsigned int line, int value)
{
	if (line == 0)
		return -EPERM;
	led = value;
	return 0;
}

static struct gpio_chip chip = {
	.owner = THIS_MODULE,
	.label = "board-lines",
	.base = -1,
	.ngpio = ARRAY_SIZE(names),
	.names = names,
	.get = get_line,
	.set = set_line,
	.direction_input = make_input,
	.direction_output = make_output,
};

static int __init plug_in(void)
{
	int error;

	if (hex2bin(held, registers, min(strlen(registers) / 2, sizeof(held))))
		return -EINVAL;
	error = i2c_add_adapter(&adapter);
	if (error)
		return error;
	error = gpiochip_add_data(&chip, NULL);
	if (error)
		i2c_del_adapter(&adapter);
	return error;
}

static void __exit pull_out(void)
{
	gpiochip_remove(&chip);
	i2c_del_adapter(&adapter);
}

module_init(plug_in);
module_exit(pull_out);
MODULE_DESCRIPTION("I2C registers and GPIO lines for tests");
MODULE_LICENSE("Dual MIT/GPL");
